"""What the powernv firmware can be told to do wrong.

Steps "register", "preserve" and "handover" of docs/architecture.md. Specification of what is bent: skiboot's
include/opal-api.h for the statuses, HDAT's CPU data, and Linux's own metadata. Their reader: Linux
arch/powerpc/platforms/powernv/opal-fadump.c. Offsets are those of :mod:`fadump.abi.powernv.mpipl`, :mod:`.cpu_data` and
:mod:`.kernel_metadata`.
"""

import struct
from collections.abc import Callable, Iterator
from functools import partial

from fadump.abi.powernv import cpu_data
from fadump.abi.powernv.hdat import RegionId
from fadump.abi.powernv.mpipl import MpiplTag
from fadump.abi.powernv.opal import OpalStatus, real_address
from fadump.firmware.contract import CallName, PreservedDump
from fadump.firmware.crash_info_faults import crash_info_faults
from fadump.firmware.faults import DumpFault, FaultNames, FaultyDump
from fadump.memory.devicetree import DeviceTree
from fadump.memory.ranges import Range

_METADATA_VERSION, _CRASHING_PIR, _REGION_COUNT = 0x00, 0x08, 0x14
_CPU_DATA_VERSION, _CPU_DATA_BYTES, _REGION_COPY, _REGION_BYTES = 0x0C, 0x10, 0x20, 0x28
_PIR, _CORE_STATE, _ENTRIES, _ENTRY_BYTES = 0x00, 0x04, 0x18, 16
_KERNEL_VERSION, _KERNEL_REGIONS, _KERNEL_REGISTERED, _KERNEL_CRASH_INFO, _KERNEL_COPY = 0x00, 0x04, 0x06, 0x08, 0x18
_OUTSIDE_BYTES = 0x1_0000
_UNKNOWN_PIR = 0x3FF
_UNKNOWN_NUMBER = 0x7FF
_CALLS = {
    CallName.REGISTER: "OPAL_MPIPL_UPDATE, add a range",
    CallName.UNREGISTER: "OPAL_MPIPL_UPDATE, remove all ranges",
    CallName.INVALIDATE: "OPAL_MPIPL_UPDATE, free preserved memory",
    CallName.TERMINATE: "OPAL_CEC_REBOOT2 of type MPIPL",
    CallName.SET_KERNEL_TAG: "OPAL_MPIPL_REGISTER_TAG, the kernel's metadata",
    CallName.SET_BOOT_MEM_TAG: "OPAL_MPIPL_REGISTER_TAG, boot memory top",
    CallName.QUERY_KERNEL_TAG: "OPAL_MPIPL_QUERY_TAG, the crashed kernel's metadata",
    CallName.QUERY_CPU_TAG: "OPAL_MPIPL_QUERY_TAG, the CPUs' registers",
    CallName.QUERY_OPAL_TAG: "OPAL_MPIPL_QUERY_TAG, OPAL's memory",
    CallName.QUERY_BOOT_MEM_TAG: "OPAL_MPIPL_QUERY_TAG, which only a kernel asks that preserves a dump",
}


def _present(tree: DeviceTree, faulty: FaultyDump) -> None:
    node = tree.find("/ibm,opal/dump")
    if node is not None and faulty.structure is None:
        node.properties.pop("mpipl-boot", None)


def _describe(dump: PreservedDump, _structure: bytes) -> PreservedDump:
    return dump


def _hide(faulty: FaultyDump) -> None:
    faulty.structure = None


def _shorten(faulty: FaultyDump) -> None:
    """MPIPL can't say it: the second half of boot memory's last copy isn't there."""
    kernels = [region for region in faulty.preserved.regions if region.type == RegionId.KERNEL]
    copies = [region for region in kernels if region.source != region.destination]
    for copy in copies[-1:]:
        faulty.discard(Range(copy.destination + copy.copied_bytes // 2, copy.destination + copy.copied_bytes))


def _at_tag(tag: MpiplTag, offset: int, layout: str, value: int, faulty: FaultyDump) -> None:
    """Write a number into what a tag points to."""
    address = real_address(faulty.preserved.tags[tag])
    if address:
        faulty.write(address + offset, struct.pack(layout, value))


def _number_at(tag: MpiplTag, offset: int, layout: str, faulty: FaultyDump) -> int:
    """What a tag points to, 0 if it points nowhere."""
    address = real_address(faulty.preserved.tags[tag])
    if not address:
        return 0
    (number,) = struct.unpack(layout, faulty.memory.read(address + offset, struct.calcsize(layout)))
    return int(number)


def _partly(faulty: FaultyDump) -> None:
    """Of one range nothing would be left."""
    if _number_at(MpiplTag.KERNEL, _KERNEL_REGISTERED, ">H", faulty) > 1:
        registered = _number_at(MpiplTag.KERNEL, _KERNEL_REGIONS, ">H", faulty) - 1
        _at_tag(MpiplTag.KERNEL, _KERNEL_REGISTERED, ">H", registered, faulty)


def _fewer_cpus(faulty: FaultyDump) -> None:
    size_bytes = _number_at(MpiplTag.CPU, _REGION_BYTES, ">Q", faulty)
    _at_tag(MpiplTag.CPU, _REGION_BYTES, ">Q", size_bytes - cpu_data.THREAD_BYTES, faulty)


def _move_out(tag: MpiplTag, offset: int, faulty: FaultyDump) -> None:
    _at_tag(tag, offset, ">Q", max(extent.end for extent in faulty.memory.ram) + _OUTSIDE_BYTES, faulty)


def _move_copy_over_registers(faulty: FaultyDump) -> None:
    _at_tag(MpiplTag.KERNEL, _KERNEL_COPY, ">Q", _number_at(MpiplTag.CPU, _REGION_COPY, ">Q", faulty), faulty)


def _in_threads(change: Callable[[list[bytearray]], list[bytearray]]) -> Callable[[FaultyDump], None]:
    """Change the CPU data: ``change`` is given each thread's, and returns as many."""

    def apply(faulty: FaultyDump) -> None:
        metadata = real_address(faulty.preserved.tags[MpiplTag.CPU])
        if not metadata:
            return
        (place,) = struct.unpack(">Q", faulty.memory.read(metadata + _REGION_COPY, 8))
        size_bytes = next(region.copied_bytes for region in faulty.preserved.regions if region.destination == place)
        data = faulty.memory.read(place, size_bytes)
        threads = [
            bytearray(data[at : at + cpu_data.THREAD_BYTES]) for at in range(0, size_bytes, cpu_data.THREAD_BYTES)
        ]
        faulty.write(place, b"".join(change(threads)))

    return apply


def _inactive(threads: list[bytearray]) -> list[bytearray]:
    for thread in threads:
        thread[_CORE_STATE] = cpu_data.INACTIVE
    return threads


def _reversed(threads: list[bytearray]) -> list[bytearray]:
    return threads[::-1]


def _twice(threads: list[bytearray]) -> list[bytearray]:
    return [threads[0], *threads[:-1]]


def _unknown_cpu(threads: list[bytearray]) -> list[bytearray]:
    """The last thread that is active has another PIR."""
    for thread in threads[::-1]:
        if thread[_CORE_STATE] != cpu_data.INACTIVE:
            struct.pack_into(">I", thread, _PIR, _UNKNOWN_PIR)
            break
    return threads


def _unknown_numbers(threads: list[bytearray]) -> list[bytearray]:
    for thread in threads:
        for index in range(10):
            struct.pack_into(">II", thread, _ENTRIES + index * _ENTRY_BYTES, 2, _UNKNOWN_NUMBER)
    return threads


def _dump_faults() -> Iterator[DumpFault]:
    yield DumpFault("dump=missing", "the capture kernel is not told of the dump", _hide)
    yield DumpFault("boot-memory=short", "the copy of boot memory ends early, and nobody says so", _shorten)
    yield DumpFault(
        "metadata=partly", "the kernel's metadata say that one of several ranges was not registered", _partly
    )
    yield DumpFault("registers=fewer-cpus", "the CPU data end before the last thread", _fewer_cpus)
    yield from (
        DumpFault(name, text, partial(_move_out, tag, offset))
        for name, text, tag, offset in (
            ("registers=outside", "the CPU data are said to be outside memory", MpiplTag.CPU, _REGION_COPY),
            (
                "boot-memory=outside",
                "the copy of boot memory is said to be outside memory",
                MpiplTag.KERNEL,
                _KERNEL_COPY,
            ),
        )
    )
    yield DumpFault(
        "boot-memory=overlapping", "the copy of boot memory is said to be where CPU data is", _move_copy_over_registers
    )
    for part, tag, name, text, offset, layout, value in (
        ("metadata", MpiplTag.KERNEL, "later-version", "the kernel's metadata are of version 2",
         _KERNEL_VERSION, ">B", 2),
        ("metadata", MpiplTag.KERNEL, "no-ranges", "the kernel's metadata say that no range was registered",
         _KERNEL_REGISTERED, ">H", 0),
        ("metadata", MpiplTag.KERNEL, "no-header", "the kernel's metadata have no crash-info header",
         _KERNEL_CRASH_INFO, ">Q", 0),
        ("opal", MpiplTag.OPAL, "later-version", "the metadata of OPAL's memory are of version 2",
         _METADATA_VERSION, ">B", 2),
        ("opal", MpiplTag.OPAL, "foreign-cpu", "the metadata of OPAL's memory name a CPU that is not there",
         _CRASHING_PIR, ">I", _UNKNOWN_PIR),
        ("opal", MpiplTag.OPAL, "no-regions", "the metadata of OPAL's memory have no regions", _REGION_COUNT, ">I", 0),
        ("registers", MpiplTag.CPU, "nowhere", "the CPU data are said to be at 0", _REGION_COPY, ">Q", 0),
        ("registers", MpiplTag.CPU, "later-version", "the CPU data are of version 2", _CPU_DATA_VERSION, ">I", 2),
        ("registers", MpiplTag.CPU, "no-size", "the CPU data have 0 bytes for each thread", _CPU_DATA_BYTES, ">I", 0),
        ("registers", MpiplTag.CPU, "too-large", "the CPU data have 4 GiB for each thread",
         _CPU_DATA_BYTES, ">I", 0xFFFF_FFFF),
    ):  # fmt: skip
        yield DumpFault(f"{part}={name}", text, partial(_at_tag, tag, offset, layout, value))
    for name, text, change in (
        ("inactive", "the CPU data say that every thread was inactive", _inactive),
        ("reversed", "the threads stand in the CPU data in reverse order", _reversed),
        ("twice", "a thread stands in the CPU data twice, and the last one doesn't", _twice),
        ("unknown-cpu", "the last thread has PIR 1023 in the CPU data", _unknown_cpu),
        ("unknown-names", "ten registers of each thread have numbers that no kernel knows", _unknown_numbers),
    ):
        yield DumpFault(f"registers={name}", text, _in_threads(change))


POWERNV_FAULTS = FaultNames(
    calls=_CALLS,
    statuses={status.name.lower().replace("_", "-"): int(status) for status in OpalStatus},
    dump_faults={fault.name: fault for faults in (_dump_faults(), crash_info_faults()) for fault in faults},
    present=_present,
    describe=_describe,
)
