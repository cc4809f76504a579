"""Run by what starts another Linux for them, and by nobody else."""

import os

from tests.service.targets.user_mode_linux import INSIDE

collect_ignore_glob = [] if INSIDE in os.environ else ["test_*.py"]
