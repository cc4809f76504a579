"""``fadump`` and ``python -m fadump``: holds signals back first, as what a command imports takes a while.

Only a signal that comes before this is read, while Python itself starts, ends that without a word of ours.
"""

import os
import signal
import sys


def main() -> int:
    """Run the command that ``sys.argv`` has, and end with its exit code, or return that."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy's, which start with it and have nothing to do here
    import gc  # noqa: PLC0415 - nothing is imported before signals are held back

    gc.disable()  # until all is imported, see fadump.cli: none of that is garbage
    from fadump.cli import main as run_command  # noqa: PLC0415 - a slow start

    status = run_command()
    import threading  # noqa: PLC0415 - likewise

    if threading.active_count() == 1:
        _end(status)
    return status


def _end(status: int) -> None:
    """End the process, without taking apart all that has been imported: a capture boot waits for this.

    It returns where something can't be written any more, which Python says in its own words then.
    """
    import atexit  # noqa: PLC0415 - as above

    atexit._run_exitfuncs()  # noqa: SLF001 - what Python does then
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        return
    os._exit(status)


# As signals.ENDING; that module would have to be imported.
signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))

if __name__ == "__main__":
    sys.exit(main())
