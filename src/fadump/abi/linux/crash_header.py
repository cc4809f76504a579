"""All fields of the crash-info header, as a kernel writes and checks it: of Linux 6.10 and later, and the one before.

Steps "register", "crash" and "capture boot" of docs/architecture.md. Layout: struct fadump_crash_info_header in
Linux arch/powerpc/include/asm/fadump-internal.h, which :mod:`.crash_info` shows with its offsets. In the byte order of
the kernel that writes it: little-endian here.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from fadump.abi.linux.crash_info import CPU_UNKNOWN, MAGIC, OLD_MAGIC
from fadump.abi.linux.pt_regs import REGISTER_NAMES
from fadump.errors import FormatError

VERSION = 1
PT_REGS_BYTES = 384
"""sizeof(struct pt_regs): the registers and four more words."""

_FIXED = struct.Struct("<QIIQQII")
_OLD_FIXED = struct.Struct("<QQI4x")
_REGISTERS = struct.Struct(f"<{len(REGISTER_NAMES)}Q")
CRASHING_CPU_OFFSET = 0x0C


@dataclass(frozen=True, slots=True)
class CrashHeader:
    """Fields in the header's order. ``vmcoreinfo_address`` is where the firmware will have put the note.

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
        try:
            fixed = _FIXED.pack(
                self.magic,
                self.version,
                self.crashing_cpu,
                self.vmcoreinfo_address,
                self.vmcoreinfo_bytes,
                self.pt_regs_bytes,
                self.cpu_mask_bytes,
            )
            return fixed + _encode_rest(self.registers, self.cpu_mask, self.cpu_mask_bytes)
        except (struct.error, OverflowError) as error:
            raise ValueError(f"crash-info header with a number too large for its field: {error}") from error

    @classmethod
    def decode(cls, header: bytes, cpu_mask_bytes: int) -> "CrashHeader":
        """The header, taken to have the reader's own sizes, whatever it says itself.

        :raises FormatError: it is cut short.
        """
        _check(header, header_bytes(cpu_mask_bytes))
        magic, version, cpu, address, note_bytes, regs_bytes, mask_bytes = _FIXED.unpack_from(header)
        registers, mask = _decode_rest(header, _FIXED.size, cpu_mask_bytes)
        return cls(magic, version, cpu, address, note_bytes, regs_bytes, mask_bytes, registers, mask)


@dataclass(frozen=True, slots=True)
class OldCrashHeader:
    """The header before Linux kernel commit c6c5b14dac0d (in v6.10): it leads to an ELF core header, and has no sizes.

    ``cpu_mask_bytes`` is no field of it, but the kernel's sizeof(struct cpumask).
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
        try:
            fixed = _OLD_FIXED.pack(self.magic, self.elfcorehdr_address, self.crashing_cpu)
            return fixed + _encode_rest(self.registers, self.cpu_mask, self.cpu_mask_bytes)
        except (struct.error, OverflowError) as error:
            raise ValueError(f"crash-info header with a number too large for its field: {error}") from error

    @classmethod
    def decode(cls, header: bytes, cpu_mask_bytes: int) -> "OldCrashHeader":
        """The header.

        :raises FormatError: it is cut short.
        """
        _check(header, old_header_bytes(cpu_mask_bytes))
        magic, address, cpu = _OLD_FIXED.unpack_from(header)
        registers, mask = _decode_rest(header, _OLD_FIXED.size, cpu_mask_bytes)
        return cls(magic, address, cpu, cpu_mask_bytes, registers, mask)


def header_bytes(cpu_mask_bytes: int) -> int:
    """sizeof(struct fadump_crash_info_header) of a kernel with such a cpumask."""
    return _FIXED.size + PT_REGS_BYTES + cpu_mask_bytes


def old_header_bytes(cpu_mask_bytes: int) -> int:
    """The same before Linux kernel commit c6c5b14dac0d (in v6.10)."""
    return _OLD_FIXED.size + PT_REGS_BYTES + cpu_mask_bytes


def _encode_rest(registers: Mapping[str, int] | None, cpu_mask: int, cpu_mask_bytes: int) -> bytes:
    values = registers or {}
    words = _REGISTERS.pack(*(values.get(name, 0) for name in REGISTER_NAMES))
    return words.ljust(PT_REGS_BYTES, b"\0") + cpu_mask.to_bytes(cpu_mask_bytes, "little")


def _decode_rest(header: bytes, offset: int, cpu_mask_bytes: int) -> tuple[Mapping[str, int], int]:
    values = _REGISTERS.unpack_from(header, offset)
    at = offset + PT_REGS_BYTES
    mask = int.from_bytes(header[at : at + cpu_mask_bytes], "little")
    return dict(zip(REGISTER_NAMES, values, strict=True)), mask


def _check(header: bytes, size_bytes: int) -> None:
    if len(header) < size_bytes:
        raise FormatError("crash-info header cut short", offset=0, expected=size_bytes, found=len(header))
