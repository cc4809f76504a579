"""What lies in a disk image's file systems, read without booting it: partitions, and a directory copied out of one.

ext2, ext3 and ext4 are read by debugfs from e2fsprogs, as anybody. The others are mounted, which takes root. A system
that was not shut down has its last changes in the journal only, so that is replayed: whoever calls gives a copy.
"""

import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fadump.errors import SetupError
from fadump.kit.packages import require
from fadump.kit.process import log_path, run, telling_lines

_EXT = ("ext2", "ext3", "ext4")
_MOUNTED = ("xfs", "btrfs")
_SECTOR_BYTES = 512
_NO_JOURNAL_LEFT = 0o2
"""e2fsck: it has corrected errors, and the system should be rebooted; both are fine with a copy."""


@dataclass(frozen=True, slots=True)
class FileSystem:
    """A file system in an image, at ``offset`` bytes from its start; ``kind`` as blkid(8) calls it."""

    image: Path
    offset: int
    kind: str


def file_systems(image: Path) -> Iterator[FileSystem]:
    """The file systems of a raw image that can be read here: of each partition, or of the whole disk.

    :raises SetupError: a tool is missing.
    """
    require("looking into a disk image", {"sfdisk": "fdisk", "blkid": "util-linux"})
    for offset in _offsets(image):
        command = ["blkid", "-p", "-o", "value", "-s", "TYPE", "-O", str(offset), str(image)]
        kind = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
        if kind in (*_EXT, *_MOUNTED):
            yield FileSystem(image, offset, kind)


def _offsets(image: Path) -> list[int]:
    done = subprocess.run(["sfdisk", "--json", str(image)], capture_output=True, text=True, check=False)
    if done.returncode:
        return [0]
    table = json.loads(done.stdout)["partitiontable"]
    return [part["start"] * table.get("sectorsize", _SECTOR_BYTES) for part in table.get("partitions", [])] or [0]


def copy_directory(system: FileSystem, directory: str, target: Path) -> bool:
    """Copy a directory with all that is in it to ``target``, which is made; False if there is no such directory.

    Files are readable by their owner only.

    :raises SetupError: it can't be read here, or there is no room for the copy.
    """
    if system.kind in _EXT:
        found = _copy_by_debugfs(system, directory, target)
    else:
        found = _copy_by_mount(system, directory, target)
    if found:
        for path in (target, *target.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o700 if path.is_dir() else 0o600)
    return found


def _copy_by_debugfs(system: FileSystem, directory: str, target: Path) -> bool:
    require("reading ext4 in a disk image", {"debugfs": "e2fsprogs", "e2fsck": "e2fsprogs"})
    place = f"{system.image}?offset={system.offset}"
    replayed = subprocess.run(
        ["e2fsck", "-E", "journal_only", "-y", place], capture_output=True, text=True, check=False
    )
    if replayed.returncode & ~0o3:
        raise SetupError(
            f"the journal of the ext4 file system at {system.offset:#x} in the image can't be replayed: "
            f"{telling_lines((replayed.stdout + replayed.stderr).splitlines())}"
        )
    asked = _debugfs(place, f"stat {shlex.quote(directory)}")
    if not re.search(r"Type: directory", asked):
        return False
    target.mkdir(mode=0o700)
    said = _debugfs(place, f"rdump {shlex.quote(directory)} {shlex.quote(str(target))}")
    copied = target / Path(directory).name
    if re.search(r"No space left|while (?:writing|reading)", said) or not copied.is_dir():
        raise SetupError(f"{directory} can't be copied out of the image: {telling_lines(said.splitlines())}")
    for path in copied.iterdir():
        path.rename(target / path.name)
    copied.rmdir()
    return True


def _debugfs(place: str, request: str) -> str:
    done = subprocess.run(["debugfs", "-R", request, place], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def _copy_by_mount(system: FileSystem, directory: str, target: Path) -> bool:
    if os.geteuid() != 0:
        raise SetupError(f"the image has its dumps on {system.kind}, which only root can look into: run this as root")
    with _mounted(system) as mounted:
        source = mounted / directory.lstrip("/")
        if not source.is_dir():
            return False
        run(
            ["cp", "-a", "--no-dereference", str(source), str(target)],
            what=f"copying {directory} out of the image",
            log=log_path("rehearse"),
        )
        return True


@contextmanager
def _mounted(system: FileSystem) -> Iterator[Path]:
    """In a mount namespace there would be no mount left behind by a kill; a lazy umount is what is left to do."""
    mounted = system.image.parent / "mounted"
    mounted.mkdir(mode=0o700)
    options = f"loop,offset={system.offset},nosuid,nodev,noexec"
    run(
        ["mount", "-t", system.kind, "-o", options, str(system.image), str(mounted)],
        what=f"mounting the image's {system.kind}",
        log=log_path("rehearse"),
    )
    try:
        yield mounted
    finally:
        run(["umount", "--lazy", str(mounted)], what="unmounting the image", log=log_path("rehearse"))
        mounted.rmdir()
