"""An administrator's programs: run with a time limit, killed with all that they have started, never in the way.

Their output goes to standard error, as standard output may be a JSON object's.
"""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress

from fadump.errors import reason

_GRACE_SECONDS = 10


def run_program(
    what: str, command: Sequence[str], seconds: float, environment: Mapping[str, str], text: bytes = b""
) -> str | None:
    """Run a program that reads ``text``; what went wrong, as a sentence that begins with ``what``, or None."""
    try:
        process = subprocess.Popen(
            command, env={**os.environ, **environment}, stdin=subprocess.PIPE, stdout=2, start_new_session=True
        )
    except (OSError, ValueError) as error:
        return f"{what} {command[0]} can't be started: {reason(error)}"
    try:  # not "with", which waits without an end
        process.communicate(text, timeout=seconds)
    except subprocess.TimeoutExpired:
        _kill(process)
        return f"{what} {command[0]} was not done after {seconds:g} seconds and has been killed"
    except BaseException:
        _kill(process)
        raise
    with suppress(ProcessLookupError):  # what it has left running would keep a file system busy
        os.killpg(process.pid, signal.SIGKILL)
    if process.returncode < 0:
        return f"{what} {command[0]} was ended by {signal.Signals(-process.returncode).name}"
    return f"{what} {command[0]} failed with exit status {process.returncode}" if process.returncode else None


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    if process.stdin is not None:
        with suppress(OSError):  # nobody reads what is left
            process.stdin.close()
    with suppress(subprocess.TimeoutExpired):  # one that waits for a dead disk can't be killed
        process.wait(_GRACE_SECONDS)
