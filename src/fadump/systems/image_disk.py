"""A disk that pseries' firmware boots from: a DOS partition table, a PReP partition for GRUB, an ext4 file system.

    offset 0        the partition table, at its end (the 64 bytes before the signature 55 aa)
    1 MiB           PReP boot partition, type 0x41: GRUB's core.elf, which SLOF loads as it is
    9 MiB           Linux, type 0x83: the root file system, to the end

The types are those of PowerPC Reference Platform's boot records, which LoPAPR keeps (B.11, "Program Image Formats");
cylinders and heads are filled with what says that the sector numbers count.
"""

import uuid
from dataclasses import dataclass
from pathlib import Path

from fadump.kit.process import log_path, run

MKE2FS = "/sbin/mke2fs"
"""Of Debian's package e2fsprogs; an ordinary user's PATH doesn't have it."""
SECTOR_BYTES = 512
PREP_PARTITION = 1
ROOT_PARTITION = 2

_MIB = 1 << 20
_PREP_OFFSET = 1 * _MIB
_ROOT_OFFSET = 9 * _MIB
_TABLE_OFFSET = 446
_ACTIVE = 0x80
_TYPE_PREP = 0x41
_TYPE_LINUX = 0x83
_BY_SECTOR_NUMBER = b"\xfe\xff\xff"
_SIGNATURE = b"\x55\xaa"

_FEATURES = (
    *("none", "has_journal", "ext_attr", "resize_inode", "dir_index", "filetype", "sparse_super", "large_file"),
    *("huge_file", "extent", "flex_bg", "64bit", "dir_nlink", "extra_isize", "metadata_csum"),
)
"""Of ext4, whatever this machine's own default is: GRUB 2.06 can't read the newest ones."""


@dataclass(frozen=True, slots=True)
class Disk:
    """A disk image that is being made, ``size_bytes`` long and sparse; ``root_uuid`` names its root file system."""

    path: Path
    size_bytes: int
    root_uuid: uuid.UUID

    def partition(self) -> None:
        """Make the file, with a partition table and nothing else."""
        with self.path.open("xb") as file:
            file.truncate(self.size_bytes)
            file.write(partition_table(self.size_bytes))

    def format_root(self, root: Path) -> None:
        """Make the root file system, with the files of the directory ``root``, which stay their owners'.

        :raises SetupError: it can't be made; most often the disk is full.
        """
        size_kib = (self.size_bytes - _ROOT_OFFSET) // 1024
        command = [
            MKE2FS, "-q", "-F", "-t", "ext4", "-b", "4096", "-O", ",".join(_FEATURES), "-U", str(self.root_uuid),
            "-E", f"offset={_ROOT_OFFSET},root_owner=0:0", "-d", str(root), str(self.path), f"{size_kib}k",
        ]  # fmt: skip
        run(command, what="making the image's file system", log=log_path("image-mke2fs"))


def partition_table(disk_bytes: int) -> bytes:
    """The first sector of a disk of that size."""
    disk_sectors, prep, root = (offset // SECTOR_BYTES for offset in (disk_bytes, _PREP_OFFSET, _ROOT_OFFSET))
    entries = _entry(_ACTIVE, _TYPE_PREP, prep, root - prep) + _entry(0, _TYPE_LINUX, root, disk_sectors - root)
    return bytes(_TABLE_OFFSET) + entries.ljust(64, b"\0") + _SIGNATURE


def _entry(flag: int, kind: int, first_sector: int, sectors: int) -> bytes:
    ends = (bytes([number]) + _BY_SECTOR_NUMBER for number in (flag, kind))
    return b"".join(ends) + first_sector.to_bytes(4, "little") + sectors.to_bytes(4, "little")
