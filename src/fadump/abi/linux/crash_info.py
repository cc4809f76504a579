"""The crash-info header, in which the crashing kernel describes itself to the capture kernel.

Steps "register", "crash" and "capture boot" of docs/architecture.md. Layout: Linux
arch/powerpc/include/asm/fadump-internal.h, struct fadump_crash_info_header: the one since Linux kernel commit
c6c5b14dac0d (in v6.10), FADMPSIG, and the one before, FADMPINF, which points to an ELF core header and has no sizes. It
is right after the copy of boot memory, in the byte order of the kernel that writes it; the layouts here are those of a
little-endian one. Either is followed by a cpumask of the kernel's own size.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, NamedTuple

from fadump.abi.layout import ByteOrder, Layout, u32, u64
from fadump.abi.linux.pt_regs import PT_REGS_BYTES, REGISTER_NAMES
from fadump.errors import FormatError

MAGIC = int.from_bytes(b"FADMPSIG", "big")
OLD_MAGIC = int.from_bytes(b"FADMPINF", "big")
VERSION = 1
HEADER_BYTES = 0x400
"""How much of the memory at a header is needed to decode it."""
CPU_UNKNOWN = 0xFFFF_FFFF
"""FADUMP_CPU_UNKNOWN: what registration sets, until crash_fadump() sets the number."""


class CrashInfoHeader(NamedTuple):
    """struct fadump_crash_info_header; ``regs`` is the start of a struct pt_regs, of pt_regs_sz bytes."""

    magic_number: Annotated[int, u64(0x00)]
    version: Annotated[int, u32(0x08)]
    crashing_cpu: Annotated[int, u32(0x0C)]
    vmcoreinfo_raddr: Annotated[int, u64(0x10)]
    vmcoreinfo_size: Annotated[int, u64(0x18)]
    pt_regs_sz: Annotated[int, u32(0x20)]
    cpu_mask_sz: Annotated[int, u32(0x24)]
    regs: Annotated[tuple[int, ...], u64(0x28, len(REGISTER_NAMES))]


class OldCrashInfoHeader(NamedTuple):
    """The same before Linux kernel commit c6c5b14dac0d (in v6.10)."""

    magic_number: Annotated[int, u64(0x00)]
    elfcorehdr_addr: Annotated[int, u64(0x08)]
    crashing_cpu: Annotated[int, u32(0x10)]
    regs: Annotated[tuple[int, ...], u64(0x18, len(REGISTER_NAMES))]


CRASH_INFO_HEADER = Layout(CrashInfoHeader, "crash-info header", "little")
OLD_CRASH_INFO_HEADER = Layout(OldCrashInfoHeader, "crash-info header", "little")
"""Both layouts end at the last register that has a name; the rest of pt_regs follows, then the cpumask."""
_FIXED_BYTES = CRASH_INFO_HEADER.offset("regs") + PT_REGS_BYTES
_OLD_FIXED_BYTES = OLD_CRASH_INFO_HEADER.offset("regs") + PT_REGS_BYTES


@dataclass(frozen=True, slots=True)
class CrashInfo:
    """``crashing_cpu`` is a logical CPU number; ``registers`` are that CPU's, by their names in pt_regs.

    None if the kernel didn't crash itself: then all registers are 0.
    """

    crashing_cpu: int | None
    registers: Mapping[str, int]


def decode(header: bytes) -> CrashInfo:
    """A header of either kind and byte order.

    :raises FormatError: it has no magic, or is cut short.
    """
    order = byte_order_of(header)
    if order is None:
        raise FormatError("no crash-info header", offset=0, expected=b"FADMPSIG", found=header[:8])
    layout = CRASH_INFO_HEADER.in_order(order)
    found: CrashInfoHeader | OldCrashInfoHeader
    if layout.number(header, "magic_number") == MAGIC:
        found = layout.decode(header)
    else:
        found = OLD_CRASH_INFO_HEADER.in_order(order).decode(header)
    crashing_cpu = None if found.crashing_cpu == CPU_UNKNOWN else found.crashing_cpu
    return CrashInfo(crashing_cpu, _named(found.regs))


def byte_order_of(header: bytes | bytearray) -> ByteOrder | None:
    """The byte order of the kernel that has written a header, of either kind; None: it has no magic.

    :raises FormatError: it is cut short.
    """
    orders: tuple[ByteOrder, ByteOrder] = ("little", "big")
    magics = (MAGIC, OLD_MAGIC)
    return next(
        (order for order in orders if CRASH_INFO_HEADER.in_order(order).number(header, "magic_number") in magics), None
    )


@dataclass(frozen=True, slots=True)
class CrashHeader:
    """The header as a kernel writes and checks it. ``vmcoreinfo_address`` is where the firmware will put the note.

    ``registers`` are by their names in pt_regs, absent ones 0; ``cpu_mask`` has a bit for each logical CPU.
    """

    magic: int = MAGIC
    version: int = VERSION
    crashing_cpu: int = CPU_UNKNOWN
    vmcoreinfo_address: int = 0
    vmcoreinfo_bytes: int = 0
    pt_regs_bytes: int = PT_REGS_BYTES
    cpu_mask_bytes: int = 8
    registers: Mapping[str, int] | None = None
    cpu_mask: int = 0

    @property
    def size_bytes(self) -> int:
        """How long it is as bytes."""
        return header_bytes(self.cpu_mask_bytes)

    def encode(self) -> bytes:
        """The header as bytes.

        :raises ValueError: a number that its field can't hold.
        """
        fixed = CrashInfoHeader(
            self.magic,
            self.version,
            self.crashing_cpu,
            self.vmcoreinfo_address,
            self.vmcoreinfo_bytes,
            self.pt_regs_bytes,
            self.cpu_mask_bytes,
            _words(self.registers),
        )
        encoded = CRASH_INFO_HEADER.encode(fixed).ljust(_FIXED_BYTES, b"\0")
        return encoded + _encode_mask(self.cpu_mask, self.cpu_mask_bytes)

    @classmethod
    def decode(cls, header: bytes, cpu_mask_bytes: int) -> "CrashHeader":
        """The header, decoded with the reader's own sizes and not those in it.

        :raises FormatError: it is cut short.
        """
        magic, version, cpu, address, note_bytes, regs_bytes, mask_bytes, words = CRASH_INFO_HEADER.decode(header)
        mask = _decode_mask(header, _FIXED_BYTES, cpu_mask_bytes)
        return cls(magic, version, cpu, address, note_bytes, regs_bytes, mask_bytes, _named(words), mask)


@dataclass(frozen=True, slots=True)
class OldCrashHeader:
    """The same before Linux kernel commit c6c5b14dac0d (in v6.10).

    ``cpu_mask_bytes`` isn't a field but the kernel's sizeof(struct cpumask).
    """

    magic: int = OLD_MAGIC
    elfcorehdr_address: int = 0
    crashing_cpu: int = CPU_UNKNOWN
    cpu_mask_bytes: int = 8
    registers: Mapping[str, int] | None = None
    cpu_mask: int = 0

    @property
    def size_bytes(self) -> int:
        """How long it is as bytes."""
        return old_header_bytes(self.cpu_mask_bytes)

    def encode(self) -> bytes:
        """The header as bytes.

        :raises ValueError: a number that its field can't hold.
        """
        fixed = OldCrashInfoHeader(self.magic, self.elfcorehdr_address, self.crashing_cpu, _words(self.registers))
        encoded = OLD_CRASH_INFO_HEADER.encode(fixed).ljust(_OLD_FIXED_BYTES, b"\0")
        return encoded + _encode_mask(self.cpu_mask, self.cpu_mask_bytes)

    @classmethod
    def decode(cls, header: bytes, cpu_mask_bytes: int) -> "OldCrashHeader":
        """The header.

        :raises FormatError: it is cut short.
        """
        magic, address, cpu, words = OLD_CRASH_INFO_HEADER.decode(header)
        mask = _decode_mask(header, _OLD_FIXED_BYTES, cpu_mask_bytes)
        return cls(magic, address, cpu, cpu_mask_bytes, _named(words), mask)


def area_bytes(header: bytes) -> int | None:
    """How much memory from a header on its kernel keeps out of /proc/vmcore, as the header itself says it.

    None: it is of the older kind, which doesn't say.

    :raises FormatError: as :func:`decode`.
    """
    decode(header)
    layout = CRASH_INFO_HEADER.in_order(byte_order_of(header) or "little")
    if layout.number(header, "magic_number") != MAGIC:
        return None
    return header_bytes(layout.number(header, "cpu_mask_sz"))


def header_bytes(cpu_mask_bytes: int) -> int:
    """sizeof(struct fadump_crash_info_header) of a kernel with a cpumask of that size."""
    return _FIXED_BYTES + cpu_mask_bytes


def old_header_bytes(cpu_mask_bytes: int) -> int:
    """The same before Linux kernel commit c6c5b14dac0d (in v6.10)."""
    return _OLD_FIXED_BYTES + cpu_mask_bytes


def _words(registers: Mapping[str, int] | None) -> tuple[int, ...]:
    values = registers or {}
    return tuple(values.get(name, 0) for name in REGISTER_NAMES)


def _named(words: tuple[int, ...]) -> Mapping[str, int]:
    return MappingProxyType(dict(zip(REGISTER_NAMES, words, strict=True)))


def _encode_mask(cpu_mask: int, cpu_mask_bytes: int) -> bytes:
    try:
        return cpu_mask.to_bytes(cpu_mask_bytes, "little")
    except OverflowError as error:
        raise ValueError(f"crash-info header with a cpumask too large for its field: {error}") from error


def _decode_mask(header: bytes, at: int, cpu_mask_bytes: int) -> int:
    mask = header[at : at + cpu_mask_bytes]
    if len(mask) < cpu_mask_bytes:
        raise FormatError("crash-info header cut short", offset=at, expected=cpu_mask_bytes, found=len(mask))
    return int.from_bytes(mask, "little")
