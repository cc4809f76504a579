"""``fadump`` and ``python -m fadump``: holds signals back first, as what a command imports takes a while.

Only a signal that comes before this is read, while Python itself starts, ends that without a word of ours.
"""

import os
import signal
import sys


def main() -> int:
    """Run the command that ``sys.argv`` has; its exit code."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy's, which start with it and have nothing to do here
    import gc  # noqa: PLC0415 - nothing is imported before signals are held back

    gc.disable()  # until all is imported, see fadump.cli: none of that is garbage
    from fadump.cli import main as run_command  # noqa: PLC0415 - a slow start

    return run_command()


# As signals.ENDING; that module would have to be imported.
signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT))

if __name__ == "__main__":
    sys.exit(main())
