"""VMCOREINFO of the model kernel: what it says about itself, as a note in its memory.

Steps "register" and "crash" of docs/architecture.md. Linux kernel/vmcore_info.c and arch/powerpc/kexec/vmcore_info.c.
Only what is in memory is said: there is nothing about struct pages, which nobody has written.
"""

import struct
from collections.abc import Mapping

from fadump.abi.linux.page_table import PAGE_OFFSET
from fadump.vmcore import notes
from fadump.vmcore.notes import VMCOREINFO_NAME

_NOTE = struct.Struct("<III")
_NAME_BYTES = 12
_UTS_FIELD_BYTES = 65
_UTS_NAMES = ("sysname", "nodename", "release", "version", "machine", "domainname")


def note_area_bytes(page_bytes: int) -> int:
    """VMCOREINFO_NOTE_SIZE: what the crash-info header says is to be read, zeros behind the note included."""
    return 2 * _NOTE.size + _NAME_BYTES + page_bytes


def encode_note(text: bytes) -> bytes:
    """The note as it stands in memory, with its closing zeros."""
    return notes.encode_note(VMCOREINFO_NAME, 0, text, "little") + bytes(_NOTE.size)


def encode_text(
    release: str, page_bytes: int, *, radix: bool, symbols: Mapping[str, int], log: Mapping[str, str]
) -> bytes:
    """The lines; ``symbols`` are names and their physical addresses, ``log`` the facts about printk."""
    facts = {
        "OSRELEASE": release,
        "PAGESIZE": str(page_bytes),
        **{f"SYMBOL({name})": f"{PAGE_OFFSET | address:x}" for name, address in symbols.items()},
        "OFFSET(uts_namespace.name)": "0",
        **log,
        "NUMBER(RADIX_MMU)": str(int(radix)),
    }
    return "".join(f"{key}={value}\n" for key, value in facts.items()).encode()


def encode_uts(release: str) -> bytes:
    """struct new_utsname, at the start of init_uts_ns."""
    values = {"sysname": "Linux", "nodename": "(none)", "release": release, "version": "#1 SMP", "machine": "ppc64le"}
    texts = (values.get(name, "(none)") for name in _UTS_NAMES)
    return b"".join(text.encode()[: _UTS_FIELD_BYTES - 1].ljust(_UTS_FIELD_BYTES, b"\0") for text in texts)
