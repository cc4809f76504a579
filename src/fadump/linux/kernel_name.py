"""Which kernel crashed, and when.

After the last step of "follow one crash" in docs/architecture.md. Linux: struct new_utsname in
include/uapi/linux/utsname.h; CRASHTIME, which crash_save_vmcoreinfo() adds to VMCOREINFO.
"""

from dataclasses import dataclass

from fadump.errors import AddressError, FormatError, ReadError
from fadump.linux.memory import KernelMemory
from fadump.linux.translate import TranslationError
from fadump.linux.vmcoreinfo import MissingFactError

_NAME_BYTES = 65
_NAMES = 6
_NAME_OFFSETS = (4, 0)
"""Where struct uts_namespace may have the names: behind a kref, or first."""


@dataclass(frozen=True, slots=True)
class KernelName:
    """What uname(2) returned."""

    system: str
    node: str
    release: str
    version: str
    machine: str
    domain: str


def read_name(memory: KernelMemory) -> KernelName | None:
    """The kernel's name; None if VMCOREINFO doesn't say where it is, or it can't be read.

    Before v5.11 its place in struct uts_namespace isn't stated: that is behind the count of references,
    and right if the release there is VMCOREINFO's.
    """
    facts = memory.facts
    try:
        start = facts.symbol("init_uts_ns")
        if "OFFSET(uts_namespace.name)" in facts:
            return _name_at(memory, start + facts.offset("uts_namespace.name"))
        release = facts.text("OSRELEASE")
        found = (_name_at(memory, start + offset) for offset in _NAME_OFFSETS)
        return next((name for name in found if name.release == release), None)
    except (MissingFactError, AddressError, TranslationError, ReadError):
        return None


def _name_at(memory: KernelMemory, address: int) -> KernelName:
    raw = memory.read(address, _NAMES * _NAME_BYTES)
    texts = [raw[at : at + _NAME_BYTES].partition(b"\0")[0] for at in range(0, len(raw), _NAME_BYTES)]
    return KernelName(*(text.decode("utf-8", "backslashreplace") for text in texts))


def crash_time(memory: KernelMemory) -> int | None:
    """Seconds since 1970, UTC, when the kernel saved its VMCOREINFO in order to crash; None if it didn't."""
    try:
        return memory.facts.plain_number("CRASHTIME")
    except (MissingFactError, FormatError):
        return None
