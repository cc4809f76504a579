"""The crashed kernel's memory by its virtual addresses.

After the last step of "follow one crash" in docs/architecture.md; everything in :mod:`fadump.linux` reads through
:class:`KernelMemory`. Numbers are in the kernel's byte order.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from fadump.abi.layout import STRUCT_ORDER, ByteOrder
from fadump.abi.linux.page_table import PAGE_OFFSET
from fadump.errors import FadumpError, FormatError, LimitError
from fadump.linux.translate import Mapped, Translation, TranslationError, covering
from fadump.linux.vmcoreinfo import Facts, MissingFactError
from fadump.memory.ranges import Range
from fadump.vmcore import contract
from fadump.vmcore.contract import Bytes, Dump

MOST_BYTES = 1 << 28
"""The limit of one read: more than anything that is read at once."""

UNREADABLE = (*contract.UNREADABLE, TranslationError)
"""What a read raises if memory isn't mapped, isn't in the dump, or is on a failing disk."""
UNREADABLE_ADDRESS = (*UNREADABLE, MissingFactError)
"""The same of an address that memory itself has, which may be in an area that VMCOREINFO says nothing about."""

_MACHINES: Mapping[bytes, ByteOrder] = MappingProxyType({b"\0ppc64le\0": "little", b"\0ppc64\0": "big"})
_NAMES_BYTES = 8 + 6 * 65
_STRING_STEP_BYTES = 64
_ADDRESSES = (1 << 64) - 1
_WINDOW_BYTES = 1 << 28
"""How much is translated at once."""


class OtherMachineError(FadumpError, ValueError):
    """The dump is of a machine other than ppc64, where Linux maps its memory in another way."""


def is_of_power(dump: Dump) -> bool:
    """Whether a dump is of ppc64, or may be: QEMU writes "Unknown" into kdump-compressed ones."""
    return dump.machine in ("ppc64", "ppc64le", "Unknown")


class KernelMemory:
    """Reads one dump by virtual address."""

    def __init__(self, dump: Dump, facts: Facts) -> None:
        """The caller keeps ``dump``.

        :raises OtherMachineError: it is not of ppc64.
        """
        if not is_of_power(dump):
            raise OtherMachineError(f"this is a dump of {dump.machine}: only the Linux of ppc64 can be looked into")
        self.dump = dump
        self.facts = facts
        self.byte_order = _byte_order(dump, facts)
        self.translation = Translation(dump.read_physical, facts, self.byte_order)

    def read(self, virtual: int, length: int) -> bytes:
        """Read ``length`` bytes from a virtual address.

        :raises TranslationError: some of them aren't mapped, or it is no kernel address.
        :raises AddressError: the dump doesn't have them, or not the page tables that say where they are.
        :raises FormatError: ``length`` is more than :data:`MOST_BYTES`, as a damaged size can be.
        :raises ReadError: the disk can't read them.
        """
        _check_length(virtual, length)
        pieces = self.translation.mapped(Range.sized(virtual, length))
        return b"".join(self.dump.read_physical(piece.physical, piece.virtual.size_bytes) for piece in pieces)

    def view(self, virtual: int, length: int) -> Bytes:
        """The same as a read-only array, without a copy if the bytes are contiguous in the file; same errors."""
        _check_length(virtual, length)
        return self._view(self.translation.mapped(Range.sized(virtual, length)))

    def can_read(self, virtual: int, length: int) -> bool:
        """Whether :meth:`read` would raise nothing."""
        try:
            self.read(virtual, length)
        except UNREADABLE:
            return False
        return True

    def views(self, wanted: Range, step_bytes: int) -> Iterator[Bytes | None]:
        """The same for all of ``wanted``, ``step_bytes`` at a time; None for a step that can't be read.

        Page tables are walked once for many steps.
        """
        for window in _steps(wanted, max(1, _WINDOW_BYTES // step_bytes) * step_bytes):
            try:
                known = self.translation.mapped_within(window)
            except UNREADABLE:
                known = None
            for step in _steps(window, step_bytes):
                try:
                    pieces = self.translation.mapped(step) if known is None else covering(known, step)
                    yield self._view(pieces)
                except UNREADABLE:
                    yield None

    def _view(self, pieces: Sequence[Mapped]) -> Bytes:
        views = [self.dump.view_physical(Range.sized(piece.physical, piece.virtual.size_bytes)) for piece in pieces]
        return views[0] if len(views) == 1 else np.concatenate([np.empty(0, np.uint8), *views])

    def unpack(self, fields: str, virtual: int) -> tuple[Any, ...]:
        """Fields as struct names them, in the kernel's byte order and without padding; errors as :meth:`read`."""
        layout = struct.Struct(STRUCT_ORDER[self.byte_order] + fields)
        return layout.unpack(self.read(virtual, layout.size))

    def word(self, virtual: int) -> int:
        """An unsigned long or a pointer, 64 bits; errors as :meth:`read`."""
        (word,) = self.unpack("Q", virtual)
        return int(word)

    def number(self, virtual: int) -> int:
        """An unsigned int, 32 bits; errors as :meth:`read`."""
        (number,) = self.unpack("I", virtual)
        return int(number)

    def string(self, virtual: int, most_bytes: int) -> bytes:
        """The bytes up to a zero byte, at most ``most_bytes``; errors as :meth:`read`."""
        parts: list[bytes] = []
        at, end = virtual, virtual + most_bytes
        while at < end:
            step = min(_STRING_STEP_BYTES - at % _STRING_STEP_BYTES, end - at)  # no step crosses a page boundary
            part, zero, _rest = self.read(at, step).partition(b"\0")
            parts.append(part)
            if zero:
                break
            at += step
        return b"".join(parts)


def _byte_order(dump: Dump, facts: Facts) -> ByteOrder:
    """The kernel's byte order.

    QEMU's headers have the one in which the CPU takes interrupts, which isn't the kernel's before that has set it. A
    dump without VMCOREINFO may be QEMU's: then the machine's name in the kernel's memory says which it is.
    """
    if dump.vmcoreinfo is not None:
        return dump.byte_order
    try:
        names = dump.read_physical(facts.symbol("init_uts_ns") - PAGE_OFFSET, _NAMES_BYTES)
    except (*contract.UNREADABLE, MissingFactError):
        return dump.byte_order
    return next((order for machine, order in _MACHINES.items() if machine in names), dump.byte_order)


def _steps(wanted: Range, step_bytes: int) -> Iterator[Range]:
    for start in range(wanted.start, wanted.end, step_bytes):
        yield Range(start, min(start + step_bytes, wanted.end))


def _check_length(virtual: int, length: int) -> None:
    if virtual < 0:  # what begins so many bytes before a pointer may be nowhere
        raise TranslationError(virtual & _ADDRESSES, "it is no kernel address")
    if length < 0:
        raise FormatError(f"a length of {length} bytes at virtual address {virtual:#x}")
    if length > MOST_BYTES:
        raise LimitError(f"bytes to read at virtual address {virtual:#x}", found=length, limit=MOST_BYTES)
