"""A small pseries guest for the firmware's tests: memory, device tree, calls, and a registration like Linux's.

0x000000..0x400000  the real mode area; boot memory is its first half, the work buffer lies in it
0x400000..0x800000  more RAM, in another file: CPU state, the copy of boot memory, the parameter area on top
0xc00000..0xd00000  a DIMM above a hole
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from fadump.abi.pseries.dump_structure import REQUEST_COPY, DumpSection, DumpStructure, SectionError, SectionType
from fadump.abi.pseries.register_save_area import area_bytes
from fadump.abi.pseries.rtas import DumpCommand
from fadump.abi.registers import CpuRegisters
from fadump.firmware.contract import FirmwareCall, Outcome, State, Trigger, TriggerKind
from fadump.firmware.pseries import Offer, PseriesFirmware
from fadump.memory.devicetree import DeviceTree, Node, encode_cells, encode_strings
from fadump.memory.guest import GuestMemory, Segment
from fadump.memory.ranges import Range, RangeSet

RMA = Range(0, 0x40_0000)
UPPER = Range(0x40_0000, 0x80_0000)
DIMM = Range(0xC0_0000, 0xD0_0000)
BOOT_MEMORY = Range(0, 0x20_0000)
WORK_BUFFER = 0x10_0040
MESSAGE = 0x10_1000
ANSWER = 0x10_2000

OS_TERM_TOKEN = 0x201F
CONFIGURE_TOKEN = 0x202D
OTHER_TOKEN = 0x202C

CPUS = 2
REGISTERS_PER_CPU = 8
CPU_STATE_BYTES = area_bytes(CPUS, REGISTERS_PER_CPU)
CRASHED = (CpuRegisters(0, {"NIA": 0xC000_0000_0000_1234, "GPR00": 1}), CpuRegisters(1, {"MSR": 0x1002}))


@contextmanager
def guest_memory(kind: type[GuestMemory] = GuestMemory) -> Iterator[GuestMemory]:
    """The guest's RAM, empty. Every file is larger than its segment, with canaries on both sides."""
    page = os.sysconf("SC_PAGE_SIZE")
    canary = b"\xa5" * page
    files = []
    segments = []
    for range_ in (RMA, UPPER, DIMM):
        fd = os.memfd_create("guest")
        files.append((fd, range_))
        os.pwrite(fd, canary, 0)
        os.pwrite(fd, canary, page + range_.size_bytes)
        segments.append(Segment(range_, fd, page))
    try:
        with kind(segments) as memory:
            yield memory
        for fd, range_ in files:
            assert os.pread(fd, page, 0) == os.pread(fd, page, page + range_.size_bytes) == canary
    finally:
        for fd, _range in files:
            os.close(fd)


def device_tree(threads_per_core: int = 1, max_cores: int | None = CPUS, *, radix: bool = True) -> DeviceTree:
    """What SLOF and prom_init leave on QEMU, as far as it matters; one core is there, more can be plugged."""
    vector = bytes(24) + (b"\x40" if radix else b"\0")
    properties = {
        "ibm,os-term": encode_cells(OS_TERM_TOKEN),
        "ibm,extended-os-term": b"",
        "set-indicator": encode_cells(OTHER_TOKEN),
        "event-scan": encode_cells(0x2001),
        "rtas-size": encode_cells(0x89C),
        "rtas-error-log-max": encode_cells(0x400_0000),
        "linux,rtas-base": encode_cells(0x2FFF_0000),
        "linux,rtas-entry": encode_cells(0x2FFF_0000),
    }
    if max_cores is not None:
        properties["ibm,lrdr-capacity"] = encode_cells(0, DIMM.end, 0, 0x10_0000, max_cores)
    cpu = Node(
        "PowerPC,POWER9@0",
        {
            "device_type": encode_strings("cpu"),
            "ibm,ppc-interrupt-server#s": encode_cells(*range(threads_per_core)),
        },
    )
    root = Node(
        "",
        {"#address-cells": encode_cells(2), "#size-cells": encode_cells(2)},
        [
            Node("memory@0", {"reg": encode_cells(0, RMA.start, 0, RMA.size_bytes)}),
            Node("memory@400000", {"reg": encode_cells(0, UPPER.start, 0, UPPER.size_bytes)}),
            Node("cpus", {}, [cpu, Node("l2-cache@0")]),
            Node("chosen", {"ibm,architecture-vec-5": vector}),
            Node("rtas", properties),
        ],
    )
    return DeviceTree(root)


def section(type_: int, source: int, size_bytes: int, destination: int, flags: int = REQUEST_COPY) -> DumpSection:
    """A section as the kernel writes it."""
    return DumpSection(flags, type_, SectionError(0), source, size_bytes, 0, destination)


CPU_STATE = section(SectionType.CPU_STATE, 0, CPU_STATE_BYTES, 0x40_0000)
HPTE = section(SectionType.HPTE, 0, 0, 0x40_0000 + CPU_STATE_BYTES)
BOOT_COPY = section(SectionType.REAL_MODE_REGION, BOOT_MEMORY.start, BOOT_MEMORY.size_bytes, 0x41_0000)
PARAMETERS = section(SectionType.PARAMETER_AREA, 0x7F_F800, 0x800, 0x7F_F800)
STRUCTURE = DumpStructure(sections=(CPU_STATE, HPTE, BOOT_COPY, PARAMETERS))
"""What Linux 6.12 registers: CPU state, HPTE of length 0, boot memory, parameter area in its place."""


def with_section(*extra: DumpSection) -> DumpStructure:
    """Linux's structure with more sections."""
    return replace(STRUCTURE, sections=(*STRUCTURE.sections, *extra))


def described_firmware(*, strict: bool = False, offer: Offer | None = None, radix: bool = True) -> PseriesFirmware:
    """A firmware that has seen its first handover."""
    firmware = PseriesFirmware(REGISTERS_PER_CPU, strict=strict, offer=offer)
    firmware.describe(device_tree(radix=radix))
    return firmware


def firmware_in(state: State, memory: GuestMemory, *, strict: bool = False) -> PseriesFirmware:
    """A firmware that has come to ``state`` the way a guest brings it there."""
    firmware = described_firmware(strict=strict)
    if state is State.IDLE:
        return firmware
    register(firmware, memory)
    if state is State.REGISTERED:
        return firmware
    trigger = os_term(firmware, memory)
    assert isinstance(trigger, Trigger)
    if state is State.TRIGGERED:
        return firmware
    firmware.preserve(trigger, memory, CRASHED)
    if state is State.INVALIDATED:
        configure(firmware, memory, DumpCommand.INVALIDATE, 0, 440)
    assert firmware.state is state
    return firmware


def call(firmware: PseriesFirmware, memory: GuestMemory, token: int, args: Sequence[int], returns: int = 1) -> Outcome:
    return firmware.call(FirmwareCall(1, token, tuple(args), returns, ANSWER), memory)


def configure(firmware: PseriesFirmware, memory: GuestMemory, *args: int, returns: int = 1) -> Outcome:
    return call(firmware, memory, CONFIGURE_TOKEN, args, returns)


def register(firmware: PseriesFirmware, memory: GuestMemory, structure: DumpStructure = STRUCTURE) -> Outcome:
    """Register ``structure`` by way of the work buffer."""
    data = structure.encode()
    memory.write(WORK_BUFFER, data)
    return configure(firmware, memory, DumpCommand.REGISTER, WORK_BUFFER, len(data))


def os_term(firmware: PseriesFirmware, memory: GuestMemory, message_address: int = 0) -> Outcome:
    return call(firmware, memory, OS_TERM_TOKEN, (message_address,))


def crash(firmware: PseriesFirmware, memory: GuestMemory, cpus: Sequence[CpuRegisters] = CRASHED):
    """From registered to active by a platform trigger; the preserved dump."""
    return firmware.preserve(Trigger(TriggerKind.PLATFORM, "", None), memory, cpus)


def presented(firmware: PseriesFirmware) -> bytes | None:
    """What the next kernel finds as ibm,kernel-dump."""
    tree = device_tree()
    firmware.describe(tree)
    rtas = tree.find("/rtas")
    assert rtas is not None
    return rtas.properties.get("ibm,kernel-dump")


def filled(memory: GuestMemory, seed: int = 0x5A) -> None:
    """Put recognizable bytes into boot memory (with holes) and the parameter area."""
    for number, address in enumerate(range(BOOT_MEMORY.start, BOOT_MEMORY.end, 0x4_0000)):
        memory.write(address + 0x123, bytes([seed, number]) * 0x800)
    memory.write(PARAMETERS.source, b"rd.break nr_cpus=1".ljust(PARAMETERS.requested_bytes, b"\0"))


RAM = RangeSet([RMA, UPPER, DIMM])
