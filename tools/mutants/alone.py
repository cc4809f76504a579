"""Run a command for so many seconds at most; when it ends, end every process that it has started and left behind.

What a mutant leaves behind may be in no process group or session that anybody knows. It becomes a child of this process
when its own parent ends, as this one is a subreaper: prctl(2), PR_SET_CHILD_SUBREAPER. The command's exit status is
this one's. Whoever started this holds a pipe to its stdin, and all ends as well when that one does.
"""

import ctypes
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

NOT_ENDED = 124
"""The exit status if the command has not ended by itself."""
_PR_SET_CHILD_SUBREAPER = 36


def alone(seconds: float, command: Sequence[str]) -> list[str]:
    """The command that does this."""
    return [sys.executable, __file__, str(seconds), *command]


def _main() -> int:
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "PR_SET_CHILD_SUBREAPER")
    seconds, *command = sys.argv[1:]
    try:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
        select.select([os.pidfd_open(process.pid), sys.stdin], [], [], float(seconds))
        status = process.poll()
    finally:
        _end_children()
    return NOT_ENDED if status is None or status < 0 else status


def _end_children() -> None:
    """Until there are none: the children of one that ends are the next."""
    while True:
        for child in _children():
            with suppress(ProcessLookupError, PermissionError):  # a setuid helper ends by itself
                os.kill(child, signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _children() -> Iterator[int]:
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):
            _state, parent, *_others = path.read_text().rpartition(")")[2].split()
            if int(parent) == os.getpid():
                yield int(path.parent.name)


if __name__ == "__main__":
    sys.exit(_main())
