"""``python -m fadump``."""

import sys

from fadump.cli import main

sys.exit(main())
