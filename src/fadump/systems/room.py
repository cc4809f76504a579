"""Tools that read somebody's disk, and what they may take of this computer's: a file there may be of any size.

A copy may have nine tenths of the room that is free. Where sizes are known they are looked at before; a tool that
knows no sizes is watched, and ended.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from fadump.errors import SetupError

DIES_WITH_US = ("setpriv", "--pdeathsig", "KILL", "--")
_LEFT = 10
"""One part in so many stays free."""
_LOOK_SECONDS = 0.1
_MIB = 1 << 20
_BLOCK_BYTES = 512


def check_room(directory: Path, sizes_bytes: Mapping[str, int], source: str) -> None:
    """Refuse to copy files to ``directory`` that would fill its disk; ``source`` is what has these files.

    :raises SetupError: with the name of the largest.
    """
    free = shutil.disk_usage(directory).free
    if sum(sizes_bytes.values()) > free - free // _LEFT:
        raise _too_large(directory, free, sizes_bytes, source)


def run_tool(command: Sequence[str], file: int) -> "subprocess.CompletedProcess[str]":
    """Run a tool that inherits a file, to its end or ours."""
    with _started(command, file) as process:
        said, errors = process.communicate()
    return subprocess.CompletedProcess(command, process.returncode, said, errors)


def run_within_room(command: Sequence[str], file: int, target: Path, source: str) -> "subprocess.CompletedProcess[str]":
    """Run a tool that copies to ``target``, and end it if it would fill the disk there.

    :raises SetupError: it would, with the name of the largest file so far.
    """
    free = shutil.disk_usage(target.parent).free
    with _started(command, file) as process:
        while True:
            try:
                said, errors = process.communicate(timeout=_LOOK_SECONDS)
                break
            except subprocess.TimeoutExpired:
                if shutil.disk_usage(target.parent).free < free // _LEFT:
                    process.kill()
    if shutil.disk_usage(target.parent).free < free // _LEFT:
        raise _too_large(target.parent, free, _sizes(target), source)
    return subprocess.CompletedProcess(command, process.returncode, said, errors)


@contextmanager
def _started(command: Sequence[str], file: int) -> "Iterator[subprocess.Popen[str]]":
    with subprocess.Popen(
        [*DIES_WITH_US, *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        umask=0o077,
        pass_fds=[file],
        env=os.environ | {"LC_ALL": "C.UTF-8"},
    ) as process:
        try:
            yield process
        except BaseException:
            process.kill()  # or it would be waited for
            raise


def _sizes(target: Path) -> dict[str, int]:
    """What the files there take of the disk."""
    stats = {str(path.relative_to(target)): path.lstat() for path in target.rglob("*") if not path.is_dir()}
    return {name: stat.st_blocks * _BLOCK_BYTES for name, stat in stats.items()}


def _too_large(directory: Path, free: int, sizes_bytes: Mapping[str, int], source: str) -> SetupError:
    largest = max(sizes_bytes, key=lambda name: sizes_bytes[name], default="nothing")
    size = f"{sizes_bytes.get(largest, 0) // _MIB} MiB"
    return SetupError(
        f"{source} would fill the disk of {directory}, which has {free // _MIB} MiB free (its largest file is "
        f"{largest}, {size}): make room there, or remove from the system's disk what is no dump"
    )
