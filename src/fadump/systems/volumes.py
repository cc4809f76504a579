"""Where file systems may lie on a machine's disks: on partitions, on disks without any, on LVM's logical volumes.

The disks are raw, and open files of ours. A volume in several pieces, or in the middle of a disk, is copied to be read:
the tools that know file systems want one that begins a file. Such a copy is sparse and has no name, so nothing of it is
left, whatever ends.
"""

import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

from fadump.errors import FormatError, reason, unwritable
from fadump.kit.packages import require
from fadump.memory.holes import data_ranges
from fadump.memory.ranges import Range
from fadump.systems.lvm import Extents, PhysicalVolume, logical_volumes, physical_volume

_SECTOR_BYTES = 512


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a disk, which is open as ``file``."""

    file: int
    range: Range

    def read(self, offset: int, length: int) -> bytes:
        """Bytes from an offset in the piece; fewer at the end of it or of the disk."""
        start = self.range.start + offset
        return os.pread(self.file, max(0, min(length, self.range.end - start)), start)


@dataclass(frozen=True, slots=True)
class Volume:
    """``name`` is for people; ``unread`` says why it can't be put together from pieces, empty if it can."""

    name: str
    pieces: tuple[Piece, ...]
    unread: str = ""

    @property
    def size_bytes(self) -> int:
        """All pieces together."""
        return sum(piece.range.size_bytes for piece in self.pieces)

    @contextmanager
    def copied(self, directory: Path, most_bytes: int | None = None) -> Iterator[int]:
        """A file without a name that is the volume, or its first ``most_bytes`` and zeros from there on.

        It is on the file system of ``directory``.

        :raises SetupError: it can't be made there.
        :raises DiskError: there is no room for it.
        """
        with unnamed_file(directory) as file:
            try:
                os.truncate(file, self.size_bytes)
                at = 0
                for piece in self.pieces:
                    left = piece.range.size_bytes if most_bytes is None else max(0, most_bytes - at)
                    wanted = Range.sized(piece.range.start, min(piece.range.size_bytes, left))
                    for data in data_ranges(piece.file, wanted):
                        _copy(piece.file, data, file, at + data.start - piece.range.start)
                    at += piece.range.size_bytes
            except OSError as error:
                raise unwritable(error)(f"{self.name} can't be copied to {directory}: {reason(error)}") from error
            yield file


@contextmanager
def unnamed_file(directory: Path) -> Iterator[int]:
    """A file that has no name, and is gone once nobody has it open.

    :raises SetupError: it can't be made there.
    """
    try:
        file = TemporaryFile(dir=directory)  # noqa: SIM115 - it is closed below
    except OSError as error:
        raise unwritable(error)(f"a file can't be made in {directory}: {reason(error)}") from error
    with file:
        yield file.fileno()


def name_of(file: int) -> str:
    """A path for a process that inherits an open file."""
    return f"/proc/self/fd/{file}"


def volumes(disks: Sequence[int]) -> Iterator[Volume]:
    """What lies on raw disks.

    :raises SetupError: a tool is missing.
    """
    require("looking into a disk image", {"sfdisk": "fdisk"})
    physical: dict[str, Piece] = {}
    metadata: dict[str, None] = {}  # each group's once, in their order
    for number, disk in enumerate(disks, 1):
        for name, place in _partitions(disk, f"disk {number}"):
            piece = Piece(disk, place)
            try:
                found = physical_volume(piece.read)
            except FormatError as error:
                yield Volume(name, (), str(error))
                continue
            if found is None:
                yield Volume(name, (piece,))
            else:
                _note(found, piece, physical, metadata)
    for text in metadata:
        yield from _logical_volumes(text, physical)


def _note(found: PhysicalVolume, piece: Piece, physical: dict[str, Piece], metadata: dict[str, None]) -> None:
    physical[found.identity] = piece
    if found.metadata:
        metadata[found.metadata] = None


def _logical_volumes(metadata: str, physical: Mapping[str, Piece]) -> Iterator[Volume]:
    try:
        for volume in logical_volumes(metadata):
            name = f"the logical volume {volume.name}"
            if volume.kind:
                yield Volume(name, (), f"LVM has it as {volume.kind}, and linear ones are read here")
            else:
                yield _linear(name, volume.extents, physical)
    except FormatError as error:
        yield Volume("a volume group of LVM's", (), str(error))


def _linear(name: str, extents: Sequence[Extents], physical: Mapping[str, Piece]) -> Volume:
    if any(part.identity not in physical for part in extents):
        return Volume(name, (), "a part of it is on a disk that was not given")
    if sum(part.range.size_bytes for part in extents) > sum(piece.range.size_bytes for piece in physical.values()):
        return Volume(name, (), "LVM's metadata have more in it than there is on the disks")
    pieces = []
    for part in extents:
        whole = physical[part.identity]
        place = Range.sized(whole.range.start + part.range.start, part.range.size_bytes)
        if not whole.range.contains(place):
            return Volume(name, (), "LVM's metadata have a part of it outside of its disk")
        pieces.append(Piece(whole.file, place))
    return Volume(name, tuple(pieces))


def _partitions(disk: int, name: str) -> list[tuple[str, Range]]:
    """The partitions, or the whole disk if it has none."""
    command = ["sfdisk", "--json", name_of(disk)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, pass_fds=[disk])
    table = {} if done.returncode else json.loads(done.stdout)["partitiontable"]
    sector_bytes = table.get("sectorsize", _SECTOR_BYTES)
    partitions = [
        (f"partition {number} of {name}", Range.sized(entry["start"] * sector_bytes, entry["size"] * sector_bytes))
        for number, entry in enumerate(table.get("partitions", []), 1)
    ]
    return partitions or [(name, Range(0, os.fstat(disk).st_size))]


def _copy(source: int, piece: Range, target: int, offset: int) -> None:
    os.lseek(target, offset, os.SEEK_SET)
    at = piece.start
    while at < piece.end:
        copied = os.sendfile(target, source, at, piece.end - at)
        if not copied:  # the table has a partition that the disk doesn't
            return
        at += copied
