"""The crash-info header: what the crashing kernel leaves for the capture kernel about itself.

Step "crash" of docs/architecture.md. Layout: Linux arch/powerpc/include/asm/fadump-internal.h, struct
fadump_crash_info_header. It stands right behind the copy of boot memory, in the kernel's own byte order.

    FADMPSIG (since Linux kernel commit c6c5b14dac0d (in v6.10))      FADMPINF, before that
    0x00  u64  magic                                                  0x00  u64  magic
    0x08  u32  version, 1                                             0x08  u64  elfcorehdr_addr
    0x0c  u32  crashing_cpu                                           0x10  u32  crashing_cpu
    0x10  u64  vmcoreinfo_raddr                                       0x14       4 bytes of padding
    0x18  u64  vmcoreinfo_size                                        0x18       struct pt_regs
    0x20  u32  pt_regs_sz                                                        cpumask
    0x24  u32  cpu_mask_sz
    0x28       struct pt_regs of pt_regs_sz bytes
               cpumask of cpu_mask_sz bytes
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from fadump.abi.linux.pt_regs import REGISTER_NAMES
from fadump.errors import FormatError

MAGIC = int.from_bytes(b"FADMPSIG", "big")
OLD_MAGIC = int.from_bytes(b"FADMPINF", "big")
HEADER_BYTES = 0x400
"""Enough of the memory at a header to decode it."""
CPU_UNKNOWN = 0xFFFF_FFFF
"""FADUMP_CPU_UNKNOWN: what registering puts there, until crash_fadump() knows better."""

_NEW = struct.Struct("QIIQQII")
_OLD = struct.Struct("QQI4x")


@dataclass(frozen=True, slots=True)
class CrashInfo:
    """``crashing_cpu`` is a logical CPU number; ``registers`` are that CPU's, by their names in pt_regs.

    None if the kernel had no part in its end: then there are no registers either, all are 0.
    """

    crashing_cpu: int | None
    registers: Mapping[str, int]


def decode(header: bytes) -> CrashInfo:
    """A header of either kind and byte order.

    :raises FormatError: it has no magic, or is cut short.
    """
    for order in "<>":
        (magic,) = _unpack(order + "Q", header, 0)
        if magic == MAGIC:
            crashing_cpu = _unpack(order + _NEW.format, header, 0)[2]
            return CrashInfo(_known(crashing_cpu), _registers(order, header, _NEW.size))
        if magic == OLD_MAGIC:
            crashing_cpu = _unpack(order + _OLD.format, header, 0)[2]
            return CrashInfo(_known(crashing_cpu), _registers(order, header, _OLD.size))
    raise FormatError("no crash-info header", offset=0, expected=b"FADMPSIG", found=header[:8])


def _known(crashing_cpu: int) -> int | None:
    return None if crashing_cpu == CPU_UNKNOWN else crashing_cpu


def _registers(order: str, header: bytes, offset: int) -> Mapping[str, int]:
    values = _unpack(f"{order}{len(REGISTER_NAMES)}Q", header, offset)
    return MappingProxyType(dict(zip(REGISTER_NAMES, values, strict=True)))


def _unpack(layout: str, header: bytes, offset: int) -> tuple[int, ...]:
    size_bytes = struct.calcsize(layout)
    if offset + size_bytes > len(header):
        raise FormatError("crash-info header cut short", offset=offset, expected=size_bytes, found=len(header) - offset)
    return struct.unpack_from(layout, header, offset)
