"""Files that somebody may take for a dump of Linux and that are none, by their first bytes, with what opens them.

After the last step of "follow one crash" in docs/architecture.md. The magics are those of the programs that write them.
"""

from fadump.abi.elf import BYTE_ORDERS

_PACKED = {
    b"\x1f\x8b": "gzip",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"BZh": "bzip2",
    b"\x04\x22\x4d\x18": "lz4",
    b"\x02\x21\x4c\x18": "lz4",
    b"\x89LZO\0\r\n\x1a\n": "lzop",
    b"\x5d\0\0": "lzma",
}
_OTHERS = {
    b"LibvirtQemudSave": "a machine saved by virsh save: virsh restore opens it, virsh dump --memory-only makes dumps",
    b"LibvirtQemudPart": "a machine whose virsh save has not ended",
    b"QEVM": "QEMU's own state, as virsh dump without --memory-only writes it: crash opens that of x86_64 only",
    b"Xen saved domain": "a machine saved by Xen's xl save: xl restore opens it, xl dump-core writes a dump",
    b"DISKDUMP": "a dump of diskdump, of Red Hat Enterprise Linux 3 and 4: crash opens it",
    b"EMiL": "a memory image of LiME: volatility3 opens it",
    b"AVML": "a memory image of avml: avml-convert makes one of LiME",
    b"PAGEDU64": "a crash dump of Windows: WinDbg opens it",
    b"PAGEDUMP": "a crash dump of Windows: WinDbg opens it",
    b"QFI\xfb": "a qcow2 disk image: the dump is in a file system in it",
    b"PK\3\4": "a zip archive: unpack it first",
    b"7z\xbc\xaf\x27\x1c": "a 7-Zip archive: unpack it first",
    b"\xed\xab\xee\xdb": "an RPM package: a kernel's debug information is no dump",
    b"!<arch>\n": "an archive or a Debian package: a kernel's debug information is no dump",
    b"MZ": "a program for UEFI or Windows, as a kernel image is: a dump is something else",
}
_NUMBERS = {
    0xA8190173618F23ED: "a dump of LKCD: crash opens it",
    0xA8190173618F23FD: "a dump of s390: zgetdump converts it to an ELF core",
    0xA8190173618F23CD: "a live dump of LKCD: crash opens it",
    0xBED0BED0: "a snapshot of VMware: crash opens it",
    0xBED2BED2: "a snapshot of VMware: crash opens it",
    0xBED3BED3: "a snapshot of VMware: crash opens it",
    0xBAD1BAD1: "a snapshot of VMware: crash opens it",
}
"""Magics that are numbers, in the byte order of who wrote them."""
_TAR_AT = 257
MOST_MAGIC_BYTES = _TAR_AT + 5


def what_else(start: bytes) -> str:
    """What a file that is no dump is, by its first :data:`MOST_MAGIC_BYTES`."""
    packed = next((program for magic, program in _PACKED.items() if start.startswith(magic)), None)
    other = next((sentence for magic, sentence in _OTHERS.items() if start.startswith(magic)), _by_number(start))
    if not start:
        return "the file is empty"
    if packed is not None:
        return f"compressed with {packed}: decompress it first"
    if other is not None:
        return f"{other}; it isn't read here"
    if start[_TAR_AT:].startswith(b"ustar"):
        return "a tar archive: unpack it first"
    if not any(start):
        return "not a dump: it begins with zeros, as a disk does that no dump was written to"
    return "not a dump file: neither ELF nor kdump-compressed nor flattened"


def _by_number(start: bytes) -> str | None:
    for number, sentence in _NUMBERS.items():
        size_bytes = (number.bit_length() + 7) // 8
        if any(start.startswith(number.to_bytes(size_bytes, order)) for order in BYTE_ORDERS.values()):
            return sentence
    return None
