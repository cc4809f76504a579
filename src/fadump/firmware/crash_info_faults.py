"""What can be wrong with the crash-info header that a capture kernel finds.

Step "capture boot" of docs/architecture.md. The header is the crashed kernel's, not the firmware's: what stands there
after a crash may be of another kernel, older, newer or of the other byte order, or was overwritten. Its readers: Linux
arch/powerpc/kernel/fadump.c, is_fadump_header_compatible(); before 6.10 the magic was all. Offsets are those of
:mod:`fadump.abi.linux.crash_info`; little-endian, as the kernels are that run here.
"""

from collections.abc import Callable
from functools import partial

from fadump.abi.linux import crash_info
from fadump.firmware.faults import DumpFault, FaultyDump

_FOREIGN_REGS_BYTES = 352
_FOREIGN_MASK_BYTES = 128
_VERSION_OFFSET, _CPU_OFFSET, _REGS_BYTES_OFFSET, _MASK_BYTES_OFFSET = 0x08, 0x0C, 0x20, 0x24
_OLD_CPU_OFFSET = 0x10
_REGISTERS_OFFSET = 0x28


def crash_info_faults() -> list[DumpFault]:
    """Return all faults of the header; they are the same on both platforms."""
    return [
        DumpFault(f"crash-info={name}", text, partial(_apply, change))
        for name, text, change in (
            ("corrupt", "the crash-info header has no magic", _field(0, 0, 8)),
            ("old-magic", "the crash-info header is of a kernel before 6.10", _field(0, crash_info.OLD_MAGIC, 8)),
            ("other-endian", "the crash-info header is of a kernel of the other byte order", _swap_magic),
            (
                "regs-size",
                "the crashed kernel had a smaller pt_regs",
                _field(_REGS_BYTES_OFFSET, _FOREIGN_REGS_BYTES, 4),
            ),
            (
                "mask-size",
                "the crashed kernel had a smaller cpumask",
                _field(_MASK_BYTES_OFFSET, _FOREIGN_MASK_BYTES, 4),
            ),
            ("later-version", "the crash-info header is of version 2", _field(_VERSION_OFFSET, 2, 4)),
            ("no-cpu", "the crash-info header names no crashing CPU", _names(crash_info.CPU_UNKNOWN)),
            ("foreign-cpu", "the crash-info header names a CPU that is not there", _names(63)),
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


def _field(offset: int, value: int, width: int) -> Callable[[bytearray], None]:
    """A number of a header since 6.10; the magic of any."""

    def change(header: bytearray) -> None:
        if offset == 0 or _is_new(header):
            header[offset : offset + width] = value.to_bytes(width, "little")

    return change


def _names(cpu: int) -> Callable[[bytearray], None]:
    def change(header: bytearray) -> None:
        offset = _CPU_OFFSET if _is_new(header) else _OLD_CPU_OFFSET
        header[offset : offset + 4] = cpu.to_bytes(4, "little")

    return change


def _is_new(header: bytearray) -> bool:
    return int.from_bytes(header[:8], "little") == crash_info.MAGIC


def _swap_magic(header: bytearray) -> None:
    header[:8] = header[7::-1]


def _no_mask(header: bytearray) -> None:
    if not _is_new(header):
        return
    regs_bytes = int.from_bytes(header[_REGS_BYTES_OFFSET : _REGS_BYTES_OFFSET + 4], "little")
    mask_bytes = int.from_bytes(header[_MASK_BYTES_OFFSET : _MASK_BYTES_OFFSET + 4], "little")
    start = _REGISTERS_OFFSET + regs_bytes
    header[start : start + mask_bytes] = bytes(len(header[start : start + mask_bytes]))
