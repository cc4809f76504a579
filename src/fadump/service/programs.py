"""An administrator's programs: run with a time limit, killed with all that they have started, never in the way.

Their output goes to standard error, as standard output may be a JSON object's. A mark in its environment tells what a
program has started, whatever session that has begun since, and whoever its parent is now.
"""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from fadump.errors import reason

MARK = "FADUMP_STARTED_BY"
_GRACE_SECONDS = 10


def run_program(
    what: str, command: Sequence[str], seconds: float, environment: Mapping[str, str], text: bytes = b""
) -> str | None:
    """Run a program that reads ``text``; what went wrong, as a sentence that begins with ``what``, or None."""
    mark = os.urandom(16).hex()
    try:
        process = subprocess.Popen(
            command,
            env={**os.environ, **environment, MARK: mark},
            stdin=subprocess.PIPE,
            stdout=2,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        return f"{what} {command[0]} can't be started: {reason(error)}"
    try:  # not "with", which waits without an end
        process.communicate(text, timeout=seconds)
    except subprocess.TimeoutExpired:
        _kill(process, mark)
        return f"{what} {command[0]} was not done after {seconds:g} seconds and has been killed"
    except BaseException:
        _kill(process, mark)
        raise
    _kill_started(process, mark)  # what it has left running would keep a file system busy
    if process.returncode < 0:
        return f"{what} {command[0]} was ended by {signal.Signals(-process.returncode).name}"
    return f"{what} {command[0]} failed with exit status {process.returncode}" if process.returncode else None


def _kill(process: subprocess.Popen[bytes], mark: str) -> None:
    _kill_started(process, mark)
    if process.stdin is not None:
        with suppress(OSError):  # nobody reads what is left
            process.stdin.close()
    with suppress(subprocess.TimeoutExpired):  # one that waits for a dead disk can't be killed
        process.wait(_GRACE_SECONDS)


def _kill_started(process: subprocess.Popen[bytes], mark: str) -> None:
    """Kill what a program has started: its group, and whatever has its mark, until nothing more has come."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    wanted = f"{MARK}={mark}".encode()
    killed: set[Path] = set()  # those that wait for a dead disk stay
    while found := {path for path in Path("/proc").glob("[0-9]*") if _has(path, wanted)} - killed:
        for path in found:
            with suppress(ProcessLookupError):
                os.kill(int(path.name), signal.SIGKILL)
        killed |= found


def _has(process: Path, variable: bytes) -> bool:
    try:
        return variable in (process / "environ").read_bytes().split(b"\0")
    except OSError:  # it has ended since
        return False
