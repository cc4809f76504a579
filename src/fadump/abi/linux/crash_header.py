"""All fields of the crash-info header of Linux 6.10 and later, as a kernel writes and checks it.

Steps "register", "crash" and "capture boot" of docs/architecture.md. Layout: struct fadump_crash_info_header in
Linux arch/powerpc/include/asm/fadump-internal.h, which :mod:`.crash_info` shows with its offsets. In the byte order of
the kernel that writes it: little-endian here.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from fadump.abi.linux.crash_info import CPU_UNKNOWN, MAGIC
from fadump.abi.linux.pt_regs import REGISTER_NAMES
from fadump.errors import FormatError

VERSION = 1
PT_REGS_BYTES = 384
"""sizeof(struct pt_regs): the registers and four more words."""

_FIXED = struct.Struct("<QIIQQII")
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
        values = self.registers or {}
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
            registers = _REGISTERS.pack(*(values.get(name, 0) for name in REGISTER_NAMES))
            mask = self.cpu_mask.to_bytes(self.cpu_mask_bytes, "little")
        except (struct.error, OverflowError) as error:
            raise ValueError(f"crash-info header with a number too large for its field: {error}") from error
        return fixed + registers.ljust(PT_REGS_BYTES, b"\0") + mask

    @classmethod
    def decode(cls, header: bytes, cpu_mask_bytes: int) -> "CrashHeader":
        """The header, taken to have the reader's own sizes, whatever it says itself.

        :raises FormatError: it is cut short.
        """
        size_bytes = header_bytes(cpu_mask_bytes)
        if len(header) < size_bytes:
            raise FormatError("crash-info header cut short", offset=0, expected=size_bytes, found=len(header))
        magic, version, cpu, address, note_bytes, regs_bytes, mask_bytes = _FIXED.unpack_from(header)
        values = _REGISTERS.unpack_from(header, _FIXED.size)
        mask = int.from_bytes(header[_FIXED.size + PT_REGS_BYTES : size_bytes], "little")
        registers = dict(zip(REGISTER_NAMES, values, strict=True))
        return cls(magic, version, cpu, address, note_bytes, regs_bytes, mask_bytes, registers, mask)


def header_bytes(cpu_mask_bytes: int) -> int:
    """sizeof(struct fadump_crash_info_header) of a kernel with such a cpumask."""
    return _FIXED.size + PT_REGS_BYTES + cpu_mask_bytes
