"""A directory copied out of an ext2, ext3 or ext4, with its files' holes: by debugfs, which says where each file lies.

debugfs' own rdump writes zeros for a hole, so that a file of a few blocks may fill this computer's disk. Here the
blocks that a file has are copied, and what it has none for is a hole again. Links and devices are left out.
"""

import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fadump.errors import reason, unwritable
from fadump.memory.ranges import Range
from fadump.systems.room import DIES_WITH_US, check_room
from fadump.systems.volumes import name_of

_MOST_FILES = 10_000
_ENTRY = re.compile(r"/(\d+)/(\d{6})/\d+/\d+/([^/]+)/\d*/\n")
"""A name has no slash, as e2fsck has seen to it, but may have a line's end."""
_VERSION = re.compile(r"debugfs \d.*\n")
_EXTENT = re.compile(r"\((\d+)(?:-\d+)?\):(\d+)(?:-(\d+))?")
"""As ``stat`` has them: blocks of the file, blocks of the disk. Those marked ``[u]`` are unwritten, so holes, too."""
_TYPE_BITS, _DIRECTORY, _REGULAR = 0o170000, 0o040000, 0o100000
_INLINE_DATA = 0x1000_0000
"""EXT4_INLINE_DATA_FL: the file lies in its inode, and has no blocks."""
_BLOCK_SIZE_OFFSET = 1024 + 24
"""Of s_log_block_size (fs/ext4/ext4.h), which counts from 1 KiB."""


@dataclass(frozen=True, slots=True)
class _File:
    """A file on the disk: ``extents`` are offsets in it, and what of the disk lies there; ``inline`` has it all."""

    path: Path
    size_bytes: int
    modified: float
    inline: bytes
    extents: Sequence[tuple[int, Range]]

    @property
    def data_bytes(self) -> int:
        """What a copy takes."""
        return sum(place.size_bytes for _offset, place in self.extents)


class DebugfsError(Exception):
    """debugfs can't read something; what it says."""


def debugfs(file: int, request: str) -> str:
    """What debugfs answers to a request about the file system in an open file.

    :raises DebugfsError: it can't.
    """
    done = subprocess.run(
        [*DIES_WITH_US, "debugfs", "-R", request, name_of(file)],
        capture_output=True,
        check=False,
        stdin=subprocess.DEVNULL,
        umask=0o077,
        pass_fds=[file],
        env=os.environ | {"LC_ALL": "C.UTF-8"},
    )
    if errors := _VERSION.sub("", os.fsdecode(done.stderr), count=1).strip():
        raise DebugfsError(errors)
    return os.fsdecode(done.stdout)


def copy_files(file: int, inode: int, target: Path, source: str) -> None:
    """Copy what is in a directory to ``target``, which is made; ``source`` is what a sentence calls the directory.

    :raises DebugfsError: something of it can't be read.
    :raises SetupError: there is no room for a file, which the sentence names.
    """
    directories, files = _listed(file, inode)
    check_room(target.parent, {str(found.path): found.data_bytes for found in files}, source)
    at = Path()
    try:
        for at in directories:
            (target / at).mkdir(mode=0o700)
        for found in files:
            at = found.path
            _copy(file, found, target / at)
    except OSError as error:
        raise unwritable(error)(f"{source}/{at} can't be copied: {reason(error)}") from error


def _listed(file: int, inode: int) -> tuple[list[Path], list[_File]]:
    """All directories, each behind the one that it is in, and the files."""
    directories, inodes = [Path()], [inode]
    files: list[_File] = []
    block_bytes = 1024 << int.from_bytes(os.pread(file, 4, _BLOCK_SIZE_OFFSET), "little")
    for directory in directories:  # which grows
        for number, kind, name in _entries(file, inodes.pop(0)):
            if len(directories) + len(files) > _MOST_FILES:
                break
            if kind == _DIRECTORY:
                directories.append(directory / name)
                inodes.append(number)
            elif kind == _REGULAR:
                files.append(_looked_up(file, number, directory / name, block_bytes))
    return directories, files


def _entries(file: int, inode: int) -> Iterator[tuple[int, int, str]]:
    for number, mode, name in _ENTRY.findall(debugfs(file, f"ls -p <{inode}>")):
        if name not in (".", ".."):
            yield int(number), int(mode, 8) & _TYPE_BITS, name


def _looked_up(file: int, inode: int, path: Path, block_bytes: int) -> _File:
    said = debugfs(file, f"stat <{inode}>")
    head, _, blocks = said.partition("\nEXTENTS:\n" if "\nEXTENTS:\n" in said else "\nBLOCKS:\n")
    size = re.search(r" Size: (\d+)$", head, re.MULTILINE)
    flags = re.search(r" Flags: 0x([0-9a-f]+)$", head, re.MULTILINE)
    modified = re.search(r"^ mtime: 0x([0-9a-f]{8})(?::([0-9a-f]{8}))?", head, re.MULTILINE)
    if size is None or flags is None or modified is None:
        raise DebugfsError(f"it says nothing of inode {inode}")
    extents = []
    for logical, first, last in _EXTENT.findall(blocks):
        offset = int(logical) * block_bytes
        length = min((int(last or first) - int(first) + 1) * block_bytes, int(size[1]) - offset)
        if length > 0:  # fallocate(1) may have it go on behind the file's end
            extents.append((offset, Range.sized(int(first) * block_bytes, length)))
    inline = b""
    if int(flags[1], 16) & _INLINE_DATA:
        inline = os.fsencode(debugfs(file, f"cat <{inode}>"))[: int(size[1])]
    return _File(path, int(size[1]), _seconds(*modified.groups("0")), inline, extents)


def _seconds(low: str, extra: str) -> float:
    """A time as an inode has it (ext4_decode_extra_time()): 32 bits with a sign, two more, nanoseconds."""
    seconds = int.from_bytes(bytes.fromhex(low), "big", signed=True)
    return seconds + ((int(extra, 16) & 3) << 32) + (int(extra, 16) >> 2) / 1e9


def _copy(source: int, file: _File, target: Path) -> None:
    with target.open("xb") as copy:
        copy.write(file.inline)
        copy.truncate(file.size_bytes)
        for offset, place in file.extents:
            copy.seek(offset)
            at = place.start
            while at < place.end and (sent := os.sendfile(copy.fileno(), source, at, place.end - at)):
                at += sent
    os.utime(target, (file.modified, file.modified))
