"""A small powernv guest for the firmware's tests: device tree, calls, and a registration like Linux's.

Its memory is the pseries guest's (:mod:`tests.firmware.pseries.guest`), its first 8 MiB in two pieces that adjoin:

0x000000..0x200000  boot memory
0x300000..0x328000  OPAL, smaller than in nature
0x400000..0x600000  the copy of boot memory, then the crash-info header and Linux's metadata
0x7b0000..0x800000  the firmware's areas
0xc00000..0xd00000  a DIMM above a hole
"""

import struct
from collections.abc import Sequence

from fadump.abi.powernv.kernel_metadata import KernelMetadata
from fadump.abi.powernv.mpipl import MpiplOperation, MpiplRegion, MpiplTag
from fadump.abi.powernv.opal import OpalStatus, OpalToken, RebootType
from fadump.abi.registers import CpuRegisters
from fadump.firmware.contract import Answer, FirmwareCall, Outcome, PreservedDump, State, Trigger, TriggerKind
from fadump.firmware.powernv import PowernvFirmware
from fadump.memory.devicetree import DeviceTree, Node, encode_cells, encode_strings
from fadump.memory.guest import GuestMemory
from fadump.memory.ranges import Range

LOWER = Range(0, 0x80_0000)
DIMM = Range(0xC0_0000, 0xD0_0000)
BOOT_MEMORY = Range(0, 0x20_0000)
COPY = 0x40_0000
CRASH_INFO = COPY + BOOT_MEMORY.size_bytes
KERNEL_METADATA = CRASH_INFO + 0x1B0
OPAL = Range(0x30_0000, 0x32_8000)
AREAS = Range(0x7B_0000, 0x80_0000)
CPU_DATA = AREAS.start + 0x1_0000
OPAL_COPY = AREAS.start + 0x2_0000
TAG_VALUE = 0x10_2000
MESSAGE = 0x10_1000
FREE = 0x70_0000
"""Where nothing is registered or reserved."""

PIRS = (0, 1, 4, 5)
CRASHING_PIR = 4
CRASHED = (
    CpuRegisters(0, {"NIA": 0xC000_0000_0000_1234, "GPR01": 0xC000_0000_0123_0000, "MSR": 0x9000_0000_0280_9033}),
    CpuRegisters(
        4, {"NIA": 0xC000_0000_0000_5678, "GPR31": 0x31, "LR": 8, "CTR": 9, "XER": 0x2000_0000, "CR": 0x2400_0000}
    ),
    CpuRegisters(5, {"DAR": 0x13, "DSISR": 0x4000_0000, "FPR00": 0x55}),
)
LINEAR_MAPPING = 0xC000_0000_0000_0000

BOOT_RANGE = (BOOT_MEMORY.start, COPY, BOOT_MEMORY.size_bytes)
"""What Linux passes to ADD_RANGE."""


def pair(extent: Range) -> bytes:
    return struct.pack(">QQ", extent.start, extent.size_bytes)


def device_tree(opal: Range = OPAL, ram: Sequence[Range] = (LOWER, DIMM)) -> DeviceTree:
    """What skiboot leaves, as far as it matters; two cores of two threads."""
    properties = {
        "compatible": encode_strings("ibm,opal-v3"),
        "opal-base-address": struct.pack(">Q", opal.start),
        "opal-entry-address": struct.pack(">Q", opal.start + 0x3760),
        "opal-runtime-size": struct.pack(">Q", opal.size_bytes),
    }
    cpus = [
        Node(
            f"PowerPC,POWER9@{pir:x}",
            {"device_type": encode_strings("cpu"), "ibm,ppc-interrupt-server#s": encode_cells(pir, pir + 1)},
        )
        for pir in (4, 0)
    ]
    memory = [
        Node(f"memory@{extent.start:x}", {"device_type": encode_strings("memory"), "reg": pair(extent)})
        for extent in ram
    ]
    children = [*memory, Node("cpus", {}, [*cpus, Node("l2-cache@0")]), Node("ibm,opal", properties)]
    return DeviceTree(Node("", {"#address-cells": encode_cells(2), "#size-cells": encode_cells(2)}, children))


def described_firmware() -> PowernvFirmware:
    """A firmware that has seen its first handover."""
    firmware = PowernvFirmware()
    firmware.describe(device_tree())
    return firmware


def call(firmware: PowernvFirmware, memory: GuestMemory, token: int, *args: int, cpu_id: int = CRASHING_PIR) -> Outcome:
    return firmware.call(FirmwareCall(cpu_id, token, args, 1, 0), memory)


def update(firmware: PowernvFirmware, memory: GuestMemory, operation: int, *args: int) -> Outcome:
    return call(firmware, memory, OpalToken.MPIPL_UPDATE, operation, *args)


def register_tag(firmware: PowernvFirmware, memory: GuestMemory, tag: int, value: int) -> Outcome:
    return call(firmware, memory, OpalToken.MPIPL_REGISTER_TAG, tag, value)


def query(firmware: PowernvFirmware, memory: GuestMemory, tag: int) -> int | None:
    """The tag's value as Linux gets it; None if the call is refused."""
    outcome = call(firmware, memory, OpalToken.MPIPL_QUERY_TAG, tag, LINEAR_MAPPING | TAG_VALUE)
    assert isinstance(outcome, Answer)
    if outcome.status != OpalStatus.SUCCESS:
        return None
    ((address, data),) = outcome.writes
    assert address == TAG_VALUE
    memory.write(address, data)
    return int.from_bytes(memory.read(TAG_VALUE, 8), "big")


def reboot(firmware: PowernvFirmware, memory: GuestMemory, pointer: int = 0) -> Trigger:
    outcome = call(firmware, memory, OpalToken.CEC_REBOOT2, RebootType.MPIPL, pointer)
    assert isinstance(outcome, Trigger)
    return outcome


def register(
    firmware: PowernvFirmware, memory: GuestMemory, ranges: Sequence[tuple[int, int, int]] = (BOOT_RANGE,)
) -> None:
    """Do as Linux: write the metadata, set the tags, then add the ranges."""
    metadata = KernelMetadata(
        registered_regions=len(ranges),
        crash_info=CRASH_INFO,
        regions=tuple(MpiplRegion(*fields) for fields in ranges),
    )
    memory.write(KERNEL_METADATA, metadata.encode())
    boot_memory_top = max(source + size_bytes for source, _destination, size_bytes in ranges)
    outcomes = [
        register_tag(firmware, memory, MpiplTag.KERNEL, KERNEL_METADATA),
        register_tag(firmware, memory, MpiplTag.BOOT_MEM, boot_memory_top),
        *(update(firmware, memory, MpiplOperation.ADD_RANGE, *fields) for fields in ranges),
    ]
    assert all(outcome == Answer(OpalStatus.SUCCESS) for outcome in outcomes), outcomes
    assert firmware.state in (State.REGISTERED, State.ACTIVE)


def free(firmware: PowernvFirmware, memory: GuestMemory) -> Outcome:
    """What Linux does to say that the dump has been dealt with."""
    return update(firmware, memory, MpiplOperation.FREE_PRESERVED_MEMORY, 0, 0, 0)


def crash(firmware: PowernvFirmware, memory: GuestMemory, cpus: Sequence[CpuRegisters] = CRASHED) -> PreservedDump:
    """The kernel crashes, and the next one is about to start."""
    dump = firmware.preserve(reboot(firmware, memory), memory, cpus)
    firmware.describe(device_tree())
    return dump


def platform_crash(
    firmware: PowernvFirmware, memory: GuestMemory, cpus: Sequence[CpuRegisters] = CRASHED
) -> PreservedDump:
    """The platform ends the guest."""
    return firmware.preserve(Trigger(TriggerKind.PLATFORM, "", None), memory, cpus)


def firmware_in(state: State, memory: GuestMemory) -> PowernvFirmware:
    """A firmware that has come to ``state`` the way a guest brings it there."""
    firmware = described_firmware()
    if state is not State.IDLE:
        register(firmware, memory)
    if state is State.TRIGGERED:
        reboot(firmware, memory)
    if state in (State.ACTIVE, State.INVALIDATED):
        crash(firmware, memory)
    if state is State.INVALIDATED:
        free(firmware, memory)
    assert firmware.state is state
    return firmware


def dump_node(firmware: PowernvFirmware) -> Node:
    """/ibm,opal/dump as the next kernel finds it."""
    tree = device_tree()
    firmware.describe(tree)
    node = tree.find("/ibm,opal/dump")
    assert node is not None
    return node
