"""``fadump`` and ``python -m fadump``: holds signals back first, as what a command imports takes a while."""

import os
import sys

from fadump.signals import hold


def main() -> int:
    """Run the command that ``sys.argv`` has, and return its exit code."""
    hold()
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy's, which start with it and have nothing to do here
    from fadump.cli import main as run_command  # noqa: PLC0415 - a slow start

    return run_command()


if __name__ == "__main__":
    sys.exit(main())
