"""Block devices by the names that an administrator gives them: a path, or what is on them."""

import os
import stat
import subprocess
import time
from pathlib import Path

from fadump.errors import reason
from fadump.service.settings import Kind, matching
from fadump.service.targets.contract import TargetError

DEVICE: Kind = matching(
    r"/dev/(?!.*\.\.)[^\0]+|(UUID|LABEL|PARTUUID|PARTLABEL)=[^\0]+",
    'a device below /dev, or "UUID=", "LABEL=", "PARTUUID=" or "PARTLABEL=" and what it is',
)
_LOOK_SECONDS = 0.2
_TOOL_SECONDS = 60


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
    """Run a tool of the system's.

    :raises TargetError: it isn't there, or doesn't end.
    """
    try:
        return subprocess.run(
            command, capture_output=True, text=True, timeout=_TOOL_SECONDS, check=False, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired as error:
        raise TargetError(f"{command[0]} was not done after {_TOOL_SECONDS} seconds and has been killed") from error
    except OSError as error:
        raise TargetError(f"{command[0]} can't be started: {reason(error)}") from error


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
