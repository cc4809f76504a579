"""Block devices by the names that an administrator gives them: a path, or what is on them."""

import os
import signal
import stat
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from fadump.errors import reason
from fadump.service.settings import Kind, matching
from fadump.service.targets.contract import TargetError

DEVICE: Kind = matching(
    r"/dev/(?!.*\.\.)[^\0-\x1f\x7f]+|(UUID|LABEL|PARTUUID|PARTLABEL)=[^\0-\x1f\x7f]+",
    'a device below /dev, or "UUID=", "LABEL=", "PARTUUID=" or "PARTLABEL=" and what it is',
)
_LOOK_SECONDS = 0.2
_TOOL_SECONDS = 60
_GRACE_SECONDS = 5


def find_device(name: str, seconds: float) -> Path:
    """The device of that name; it may take so many seconds until it is there, as in a boot.

    :raises TargetError: it isn't.
    """
    until = time.monotonic() + seconds
    while True:
        path = _find(name)
        if path is not None:
            return path
        if time.monotonic() > until:
            raise TargetError(f"{name} is not there, after {seconds:g} seconds")
        time.sleep(_LOOK_SECONDS)


def signature(path: Path) -> str | None:
    """What is on a device, as "ext4", by blkid(8); None: nothing that it knows.

    :raises TargetError: that can't be found out.
    """
    done = run_tool("blkid", "--probe", "--output", "export", "--", str(path))
    if done.returncode == 2:  # nothing found; 8: more than one thing
        return None
    found = dict(line.partition("=")[::2] for line in done.stdout.splitlines())
    return found.get("TYPE") or found.get("PTTYPE") or "something that blkid can't tell apart"


def run_tool(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a tool of the system's, which is killed with all that it has started if it doesn't end: mount has helpers.

    :raises TargetError: it isn't there, or doesn't end.
    """
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
    except OSError as error:
        raise TargetError(f"{command[0]} can't be started: {reason(error)}") from error
    try:
        said, told = process.communicate(timeout=_TOOL_SECONDS)
    except BaseException as error:
        _kill(process)
        if isinstance(error, subprocess.TimeoutExpired):
            raise TargetError(f"{command[0]} was not done after {_TOOL_SECONDS} seconds and has been killed") from error
        raise
    return subprocess.CompletedProcess(command, process.returncode, said, told)


def told(done: subprocess.CompletedProcess[str]) -> str:
    """Why a tool has failed, in its own words if it has any."""
    return " ".join(done.stderr.split()) or f"{done.args[0]} says nothing, exit status {done.returncode}"


def _kill(process: subprocess.Popen[str]) -> None:
    """Kill a process and its group. One that waits for a dead disk can't be killed, and isn't waited for."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):
        process.communicate(timeout=_GRACE_SECONDS)


def is_block_device(path: Path) -> bool:
    """Whether it is one."""
    try:
        return stat.S_ISBLK(os.stat(path).st_mode)  # noqa: PTH116 - Path.is_block_device() hides errors, too
    except OSError:
        return False


def _find(name: str) -> Path | None:
    if name.startswith("/"):
        return Path(name) if Path(name).exists() else None
    done = run_tool("findfs", name)
    return Path(done.stdout.strip()) if done.returncode == 0 else None
