"""What is no dump of Linux is named, with what opens it."""

import struct

import pytest

from fadump.errors import FormatError
from tests.vmcore.core_builder import build_core
from tests.vmcore.dump_helpers import open_bytes


@pytest.mark.parametrize(
    ("start", "said"),
    [
        (b"LibvirtQemudSave\2\0\0\0", "virsh save: virsh restore opens it, virsh dump --memory-only"),
        (b"LibvirtQemudPart\2\0\0\0", "virsh save has not ended"),
        (b"QEVM\0\0\0\3", "QEMU's own state, as virsh dump without --memory-only"),
        (b"Xen saved domain, xl format\n \0 \r", "xl restore opens it"),
        (struct.pack("<Q", 0xA8190173618F23ED), "LKCD: crash"),
        (struct.pack(">Q", 0xA8190173618F23FD), "s390: zgetdump"),
        (b"DISKDUMP\1\0\0\0", "diskdump, .*: crash opens it"),
        (b"EMiL\1\0\0\0", "LiME: volatility3"),
        (b"\x04\x22\x4d\x18\x64", "compressed with lz4: decompress it"),
        (b"\x89LZO\0\r\n\x1a\n", "compressed with lzop"),
        (struct.pack("<I", 0xBED2BED2), "VMware: crash"),
        (b"PAGEDU64", "Windows: WinDbg"),
        (b"QFI\xfb\0\0\0\3", "qcow2 disk image"),
        (b"PK\3\4", "zip archive: unpack"),
        (b"vmcore".ljust(257, b"\0") + b"ustar\0", "tar archive: unpack"),
        (bytes(4096), "begins with zeros"),
        (b"", "the file is empty"),
        (b"[    0.000000] Linux version 6.12", "neither ELF nor kdump-compressed nor flattened"),
    ],
)
def test_a_file_that_is_no_dump_is_named(start, said):
    for data in {start, start + bytes(8 * bool(start))}:
        with pytest.raises(FormatError, match=said):
            open_bytes(data)


def test_a_core_by_xen_is_named():
    with pytest.raises(FormatError, match="xl dump-core .*: crash opens"):
        open_bytes(build_core([]))
