"""What lies in a disk image's file systems, read without booting it: partitions, and a directory copied out of one.

ext2, ext3 and ext4 are read by debugfs from e2fsprogs, as anybody. The others are mounted, which takes root. A system
that was not shut down has its last changes in the journal only, so that is replayed. An image may be hostile, too:
debugfs would follow a name with a slash, or one that is there twice, out of its target, so e2fsck mends those first.
Whoever calls gives a copy of the image.
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
from fadump.memory.holes import data_ranges
from fadump.memory.ranges import Range

_EXT = ("ext2", "ext3", "ext4")
_MOUNTED = ("xfs", "btrfs")
_SECTOR_BYTES = 512
_CORRECTED = 0o3
"""Of e2fsck's exit codes: it has corrected errors, and the system should be rebooted. Both are fine with a copy."""


@dataclass(frozen=True, slots=True)
class FileSystem:
    """A file system in an image, in the bytes ``place``; ``kind`` as blkid(8) calls it."""

    image: Path
    place: Range
    kind: str


def file_systems(image: Path) -> Iterator[FileSystem]:
    """The file systems of a raw image that can be read here: of each partition, or of the whole disk.

    :raises SetupError: a tool is missing.
    """
    require("looking into a disk image", {"sfdisk": "fdisk", "blkid": "util-linux"})
    for place in _places(image):
        command = ["blkid", "-p", "-o", "value", "-s", "TYPE", "-O", str(place.start), str(image)]
        kind = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
        if kind in (*_EXT, *_MOUNTED):
            yield FileSystem(image, place, kind)


def _places(image: Path) -> list[Range]:
    """The partitions, or the whole disk if it has none."""
    done = subprocess.run(["sfdisk", "--json", str(image)], capture_output=True, text=True, check=False)
    table = {} if done.returncode else json.loads(done.stdout)["partitiontable"]
    sector_bytes = table.get("sectorsize", _SECTOR_BYTES)
    partitions = [
        Range.sized(partition["start"] * sector_bytes, partition["size"] * sector_bytes)
        for partition in table.get("partitions", [])
    ]
    return partitions or [Range(0, image.stat().st_size)]


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
    with _on_its_own(system) as partition:
        mended = subprocess.run(["e2fsck", "-f", "-y", str(partition)], capture_output=True, text=True, check=False)
        if mended.returncode & ~_CORRECTED:
            raise SetupError(
                f"the ext4 file system at {system.place.start:#x} in the image can't be mended: "
                f"{telling_lines((mended.stdout + mended.stderr).splitlines())}"
            )
        asked = _debugfs(partition, f"stat {shlex.quote(directory)}")
        if not re.search(r"Type: directory", asked):
            return False
        target.mkdir(mode=0o700)
        said = _debugfs(partition, f"rdump {shlex.quote(directory)} {shlex.quote(str(target))}")
    copied = target / Path(directory).name
    if re.search(r"No space left|while (?:writing|reading)", said) or not copied.is_dir():
        raise SetupError(f"{directory} can't be copied out of the image: {telling_lines(said.splitlines())}")
    for path in copied.iterdir():
        path.rename(target / path.name)
    copied.rmdir()
    return True


@contextmanager
def _on_its_own(system: FileSystem) -> Iterator[Path]:
    """A file that is the file system, for as long as the block runs.

    e2fsck is told where in a file to look, and has forgotten it by the end of a journal (1.47.0, e2fsck/journal.c,
    e2fsck_run_ext3_journal()).
    """
    if not system.place.start:
        yield system.image
        return
    path = system.image.with_name(f"{system.image.name}-{system.place.start:x}")
    try:
        with system.image.open("rb") as image, open(path, "xb", opener=_private) as partition:
            for piece in data_ranges(image.fileno(), system.place):
                _copy_piece(image.fileno(), piece, partition.fileno(), piece.start - system.place.start)
            partition.truncate(system.place.size_bytes)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise SetupError(
            f"the partition at {system.place.start:#x} in the image can't be copied to {path}: {error.strerror}"
        ) from error
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _copy_piece(source: int, piece: Range, target: int, offset: int) -> None:
    at = piece.start
    while at < piece.end:
        copied = os.copy_file_range(source, target, piece.end - at, at, offset + at - piece.start)
        if not copied:  # the table has a partition that the image doesn't
            return
        at += copied


def _debugfs(file: Path, request: str) -> str:
    done = subprocess.run(["debugfs", "-R", request, str(file)], capture_output=True, text=True, check=False)
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
    options = f"loop,offset={system.place.start},nosuid,nodev,noexec"
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
