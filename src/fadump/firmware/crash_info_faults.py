"""Faults of the crash-info header that a capture kernel finds.

Step "capture boot" of docs/architecture.md. The header is the crashed kernel's, not the firmware's: it may be of
another kernel, older, newer or of the other byte order, or overwritten. Its readers: Linux
arch/powerpc/kernel/fadump.c, is_fadump_header_compatible(); before 6.10 only the magic was checked. The layout is
:mod:`fadump.abi.linux.crash_info`'s; little-endian, as are the kernels that run here.
"""

from collections.abc import Callable
from functools import partial

from fadump.abi.linux import crash_info
from fadump.abi.linux.crash_info import CRASH_INFO_HEADER, OLD_CRASH_INFO_HEADER
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
    return partial(CRASH_INFO_HEADER.put, field="magic_number", value=value)


def _field(field: str, value: int) -> Callable[[bytearray], None]:
    """Change a number in a header since 6.10."""

    def change(header: bytearray) -> None:
        if _is_new(header):
            CRASH_INFO_HEADER.put(header, field, value)

    return change


def _crashing_cpu(cpu: int) -> Callable[[bytearray], None]:
    def change(header: bytearray) -> None:
        if _is_new(header):
            CRASH_INFO_HEADER.put(header, "crashing_cpu", cpu)
        else:
            OLD_CRASH_INFO_HEADER.put(header, "crashing_cpu", cpu)

    return change


def _is_new(header: bytearray) -> bool:
    return CRASH_INFO_HEADER.number(header, "magic_number") == crash_info.MAGIC


def _swap_magic(header: bytearray) -> None:
    magic = CRASH_INFO_HEADER.number(header, "magic_number")
    CRASH_INFO_HEADER.in_order("big").put(header, "magic_number", magic)


def _no_mask(header: bytearray) -> None:
    if not _is_new(header):
        return
    start = CRASH_INFO_HEADER.offset("regs") + CRASH_INFO_HEADER.number(header, "pt_regs_sz")
    mask = slice(start, start + CRASH_INFO_HEADER.number(header, "cpu_mask_sz"))
    header[mask] = bytes(len(header[mask]))
