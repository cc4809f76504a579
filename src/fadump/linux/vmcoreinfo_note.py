"""VMCOREINFO in the crashed kernel's memory, for dumps that don't have it: QEMU's and libvirt's of Power never do.

After the last step of "follow one crash" in docs/architecture.md. Linux keeps the note as an ELF core has it, from boot
on, for those who write a core (kernel/vmcore_info.c, crash_save_vmcoreinfo_init()). Copies of other kernels' notes may
be in memory too, in a page of a file say: the one counts whose release is where it says that the kernel's name is.
"""

from collections.abc import Iterator

from fadump.abi.elf import BYTE_ORDERS, NOTE_HEADER
from fadump.abi.linux.page_table import LINEAR_END, PAGE_OFFSET
from fadump.errors import FadumpError
from fadump.linux.memory import is_of_power
from fadump.linux.vmcoreinfo import Facts
from fadump.memory.ranges import Range
from fadump.vmcore.contract import UNREADABLE, Dump, State
from fadump.vmcore.notes import VMCOREINFO_NAME

_NAME = VMCOREINFO_NAME.encode() + b"\0"
_START = _NAME.ljust(-(-len(_NAME) // 4) * 4, b"\0") + b"OSRELEASE="
_HEADER_BYTES = NOTE_HEADER.size_bytes
_TEXT_AT = len(_START) - len(b"OSRELEASE=")
_MOST_TEXT_BYTES = 1 << 16
"""Linux has a page for it."""
_STEP_BYTES = 1 << 22
MOST_SEARCHED_BYTES = 16 << 30
"""How much of a dump's memory is looked through."""
_NAMES_BYTES = 512


def find_vmcoreinfo(dump: Dump) -> bytes | None:
    """The text of the kernel's own VMCOREINFO; None if it isn't in the first 16 GiB of memory that the dump has.

    :raises SetupError: the dump is packed with LZO or Snappy, which the host lacks.
    :raises OSError: the file can't be read.
    """
    first = None
    for text in _texts(dump):
        if _is_own(dump, text):
            return text
        first = first or text
    return first


def _texts(dump: Dump) -> Iterator[bytes]:
    """The text of each note that looks like one."""
    left = MOST_SEARCHED_BYTES
    for memory in dump.memory:
        for piece in dump.mapping(memory):
            if piece.state is not State.STORED:
                continue
            for start in range(piece.range.start, piece.range.end, _STEP_BYTES):
                step = Range(start, min(start + _STEP_BYTES, piece.range.end))
                left -= step.size_bytes
                if left < 0:
                    return
                beyond = Range(start, min(step.end + len(_START), memory.end))
                yield from filter(None, (_text_at(dump, address) for address in _places(dump, beyond, step)))


def _places(dump: Dump, *steps: Range) -> Iterator[int]:
    """Where a note's name is, in the first of ``steps`` that can be read."""
    for step in steps:
        try:
            data = dump.view_physical(step).tobytes()
        except UNREADABLE:
            continue
        at = data.find(_START)
        while at >= 0:
            yield step.start + at
            at = data.find(_START, at + 1)
        return


def _text_at(dump: Dump, name_at: int) -> bytes | None:
    try:
        raw = dump.read_physical(name_at - _HEADER_BYTES, _HEADER_BYTES)
        for order in BYTE_ORDERS.values():
            name_bytes, desc_bytes, type_ = NOTE_HEADER.in_order(order).decode(raw)
            if name_bytes == len(_NAME) and type_ == 0 and 0 < desc_bytes <= _MOST_TEXT_BYTES:
                return dump.read_physical(name_at + _TEXT_AT, desc_bytes)
    except UNREADABLE:
        pass
    return None


def _is_own(dump: Dump, text: bytes) -> bool:
    """Whether the kernel in memory has the name that a VMCOREINFO says it has; of other machines than Power, any."""
    if not is_of_power(dump):
        return True
    try:
        facts = Facts(text)
        address, release = facts.symbol("init_uts_ns"), facts.text("OSRELEASE")
        if not PAGE_OFFSET <= address < LINEAR_END:
            return False
        return release.encode() + b"\0" in dump.read_physical(address - PAGE_OFFSET, _NAMES_BYTES)
    except FadumpError:
        return False
