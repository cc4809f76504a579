"""Faults of the crash-info header that a capture kernel finds.

Step "capture boot" of docs/architecture.md. The header is the crashed kernel's, not the firmware's: it may be of
another kernel, older, newer or of the other byte order, or overwritten. Its readers: Linux
arch/powerpc/kernel/fadump.c, is_fadump_header_compatible(); before 6.10 only the magic was checked. The layout is
:mod:`fadump.abi.linux.crash_info`'s, in the byte order of the kernel that has written it.
"""

from collections.abc import Callable
from functools import partial

from fadump.abi.layout import ByteOrder, Layout
from fadump.abi.linux import crash_info
from fadump.abi.linux.crash_info import CRASH_INFO_HEADER, OLD_CRASH_INFO_HEADER, CrashInfoHeader
from fadump.firmware.faults import DumpFault, FaultyDump

_FOREIGN_REGS_BYTES = 352
_FOREIGN_MASK_BYTES = 128


def crash_info_faults() -> list[DumpFault]:
    """All faults of the header, which are the same on both platforms."""
    return [
        DumpFault(f"crash-info={name}", text, partial(_apply, change))
        for name, text, change in (
            ("corrupt", "the crash-info header has no magic number", _magic(0)),
            (
                "old-magic",
                "the crash-info header has the magic number of kernels before 6.10",
                _magic(crash_info.OLD_MAGIC),
            ),
            ("other-endian", "the crash-info header has the other byte order", _swap_magic),
            (
                "regs-size",
                "the crash-info header gives a smaller size for pt_regs",
                _field("pt_regs_sz", _FOREIGN_REGS_BYTES),
            ),
            (
                "mask-size",
                "the crash-info header gives a smaller size for cpumask",
                _field("cpu_mask_sz", _FOREIGN_MASK_BYTES),
            ),
            ("later-version", "the crash-info header has version 2", _field("version", 2)),
            ("no-cpu", "the crash-info header names no crashing CPU", _crashing_cpu(crash_info.CPU_UNKNOWN)),
            ("foreign-cpu", "the crash-info header names a crashing CPU that does not exist", _crashing_cpu(63)),
            ("no-mask", "the crash-info header says that no CPU was online", _no_mask),
        )
    ]


def _apply(change: Callable[[bytearray], None], faulty: FaultyDump) -> None:
    address = faulty.preserved.crash_info
    if address is None:
        return
    header = bytearray(faulty.memory.read(address, crash_info.HEADER_BYTES))
    change(header)
    faulty.write(address, header)


def _magic(value: int) -> Callable[[bytearray], None]:
    """Change the magic, in a header of any kernel."""
    return lambda header: _layout(header).put(header, "magic_number", value)


def _field(field: str, value: int) -> Callable[[bytearray], None]:
    """Change a number in a header since 6.10."""

    def change(header: bytearray) -> None:
        if _is_new(header):
            _layout(header).put(header, field, value)

    return change


def _crashing_cpu(cpu: int) -> Callable[[bytearray], None]:
    def change(header: bytearray) -> None:
        if _is_new(header):
            _layout(header).put(header, "crashing_cpu", cpu)
        else:
            OLD_CRASH_INFO_HEADER.in_order(_byte_order(header)).put(header, "crashing_cpu", cpu)

    return change


def _byte_order(header: bytearray) -> ByteOrder:
    """The kernel's, or any if there is no header."""
    return crash_info.byte_order_of(header) or "little"


def _layout(header: bytearray) -> Layout[CrashInfoHeader]:
    return CRASH_INFO_HEADER.in_order(_byte_order(header))


def _is_new(header: bytearray) -> bool:
    return _layout(header).number(header, "magic_number") == crash_info.MAGIC


def _swap_magic(header: bytearray) -> None:
    magic = slice(0, CRASH_INFO_HEADER.offset("version"))
    header[magic] = header[magic][::-1]


def _no_mask(header: bytearray) -> None:
    if not _is_new(header):
        return
    layout = _layout(header)
    start = layout.offset("regs") + layout.number(header, "pt_regs_sz")
    mask = slice(start, start + layout.number(header, "cpu_mask_sz"))
    header[mask] = bytes(len(header[mask]))
