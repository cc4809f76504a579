"""A capture kernel that reads a dump the way Linux does: arch/powerpc/platforms/powernv/opal-fadump.c and opal-core.c.

With the offsets of Linux's headers, and nothing of this project's decoders. Register values are those that Linux's
opal_fadump_set_regval_regnum() puts into pt_regs.
"""

import struct
from dataclasses import dataclass

from fadump.abi.powernv.mpipl import MpiplTag
from fadump.firmware.powernv import PowernvFirmware
from fadump.memory.guest import GuestMemory
from tests.firmware.powernv.guest import query

_PT_REGS = {0x009: "ctr", 0x008: "link", 0x001: "xer", 0x013: "dar", 0x012: "dsisr"} | {
    0x7D0: "nip",
    0x7D1: "msr",
    0x7D2: "ccr",
}


def _be(memory: GuestMemory, address: int, size_bytes: int) -> int:
    return int.from_bytes(memory.read(address, size_bytes), "big")


@dataclass(frozen=True)
class Fadump:
    """What opal_fadump_dt_scan() and opal_fadump_get_config() have found."""

    boot_memory: list[tuple[int, int]]
    copy: int
    crash_info: int


@dataclass(frozen=True)
class OpalCore:
    """What opalcore_config_init() has found, and the PIRs of its notes in their order."""

    loads: list[tuple[int, int]]
    crashing_pir: int
    notes: list[int]
    room_for_notes: int


def fadump(firmware: PowernvFirmware, memory: GuestMemory) -> Fadump | None:
    """The active dump, if there is one."""
    metadata = query(firmware, memory, MpiplTag.KERNEL)
    if not metadata:
        return None
    assert _be(memory, metadata, 1) == 1
    count, registered = _be(memory, metadata + 4, 2), _be(memory, metadata + 6, 2)
    if not registered:
        return None
    regions = [struct.unpack(">QQQ", memory.read(metadata + 0x10 + 24 * index, 24)) for index in range(count)]
    boot_memory = [(source, size_bytes) for source, _destination, size_bytes in regions]
    return Fadump(boot_memory, regions[0][1], _be(memory, metadata + 8, 8))


def cpu_notes(firmware: PowernvFirmware, memory: GuestMemory, crashing_cpu: int) -> dict[int, dict[str, int]]:
    """opal_fadump_build_cpu_notes(): registers by PIR; the crashing CPU's are Linux's own, and empty here."""
    metadata = query(firmware, memory, MpiplTag.CPU)
    assert metadata
    notes: dict[int, dict[str, int]] = {}
    for pir, state, registers in _threads(memory, metadata):
        if pir == crashing_cpu:
            notes[pir] = {}
        elif state != 0x0F:
            notes[pir] = registers
    return notes


def opalcore(firmware: PowernvFirmware, memory: GuestMemory) -> OpalCore | None:
    """/sys/firmware/opal/core, if there is one."""
    metadata, cpu_metadata = (query(firmware, memory, tag) for tag in (MpiplTag.OPAL, MpiplTag.CPU))
    if not metadata or not cpu_metadata:
        return None
    assert _be(memory, metadata, 1) == 1
    crashing_pir, count = _be(memory, metadata + 8, 4), _be(memory, metadata + 0x14, 4)
    assert 1 <= count <= 8
    regions = [struct.unpack(">QQQ", memory.read(metadata + 0x18 + 24 * index, 24)) for index in range(count)]
    threads = _threads(memory, cpu_metadata)
    others = [pir for pir, state, _registers in threads if state != 0x0F and pir != crashing_pir]
    loads = [(destination, size_bytes) for _source, destination, size_bytes in regions]
    return OpalCore(loads, crashing_pir, [crashing_pir, *others], len(threads))


def _threads(memory: GuestMemory, metadata: int) -> list[tuple[int, int, dict[str, int]]]:
    assert _be(memory, metadata + 0x0C, 4) == 1  # HDAT_FADUMP_CPU_DATA_VER
    thread_bytes = _be(memory, metadata + 0x10, 4)
    _source, data, data_bytes = struct.unpack(">QQQ", memory.read(metadata + 0x18, 24))
    assert data
    assert 0 < thread_bytes <= data_bytes
    offset, count, entry_bytes = struct.unpack(">III", memory.read(data + 8, 12))
    threads = []
    for start in range(data, data + data_bytes // thread_bytes * thread_bytes, thread_bytes):
        registers: dict[str, int] = {}
        for index in range(count):
            _set(registers, memory.read(start + 8 + offset + index * entry_bytes, 16))
        threads.append((_be(memory, start, 4), _be(memory, start + 4, 1), registers))
    return threads


def _set(registers: dict[str, int], entry: bytes) -> None:
    type_, number, value = struct.unpack(">IIQ", entry)
    if type_ == 1:
        if number < 32:
            registers[f"gpr{number}"] = value
    elif number in _PT_REGS:
        registers[_PT_REGS[number]] = value
