"""The faults of the powernv firmware.

Steps "register", "preserve" and "handover" of docs/architecture.md. Specification of what they change: skiboot's
include/opal-api.h for the statuses, HDAT's CPU data, and Linux's own metadata. Their reader: Linux
arch/powerpc/platforms/powernv/opal-fadump.c. The layouts are :mod:`fadump.abi.powernv.mpipl`'s, :mod:`.cpu_data`'s
and :mod:`.kernel_metadata`'s.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from fadump.abi.layout import Layout
from fadump.abi.powernv import cpu_data, kernel_metadata
from fadump.abi.powernv.hdat import RegionId
from fadump.abi.powernv.mpipl import METADATA, REGION, MpiplTag
from fadump.abi.powernv.opal import OpalStatus, real_address
from fadump.abi.powernv.register_numbers import RegisterType
from fadump.firmware.contract import CallName, PreservedDump
from fadump.firmware.crash_info_faults import crash_info_faults
from fadump.firmware.faults import DumpFault, FaultNames, FaultyDump
from fadump.memory.devicetree import DeviceTree
from fadump.memory.ranges import Range

_OUTSIDE_BYTES = 0x1_0000
_UNKNOWN_PIR = 0x3FF
_UNKNOWN_NUMBER = 0x7FF


@dataclass(frozen=True, slots=True)
class _Field:
    """A field of the structure that a tag points to; a region's field is that of the first one, after the header."""

    tag: MpiplTag
    name: str
    of_region: bool = False

    @property
    def _header(self) -> Layout[Any]:
        return kernel_metadata.HEADER if self.tag == MpiplTag.KERNEL else METADATA

    @property
    def layout(self) -> Layout[Any]:
        return REGION if self.of_region else self._header

    @property
    def offset(self) -> int:
        """Relative to where the tag points."""
        return (self._header.size_bytes if self.of_region else 0) + self.layout.offset(self.name)


_CPU_DATA = _Field(MpiplTag.CPU, "destination", of_region=True)
_BOOT_MEMORY_COPY = _Field(MpiplTag.KERNEL, "destination", of_region=True)
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
    CallName.QUERY_BOOT_MEM_TAG: "OPAL_MPIPL_QUERY_TAG, boot memory top (asked by petitboot's kernel only)",
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
    """Zero the second half of boot memory's last copy; MPIPL can't say that it is missing."""
    kernels = [region for region in faulty.preserved.regions if region.type == RegionId.KERNEL]
    copies = [region for region in kernels if region.source != region.destination]
    for copy in copies[-1:]:
        faulty.discard(Range(copy.destination + copy.copied_bytes // 2, copy.destination + copy.copied_bytes))


def _put(field: _Field, value: int, faulty: FaultyDump) -> None:
    """Change a number in the structure that a tag points to."""
    address = real_address(faulty.preserved.tags[field.tag])
    if address:
        faulty.write(address + field.offset, field.layout.encode_field(field.name, value))


def _number(field: _Field, faulty: FaultyDump) -> int:
    """A number in the structure that a tag points to, 0 if there is none."""
    address = real_address(faulty.preserved.tags[field.tag])
    if not address:
        return 0
    return int.from_bytes(faulty.memory.read(address + field.offset, field.layout.size(field.name)), "big")


def _partly(faulty: FaultyDump) -> None:
    """Say that one range less is registered than there are, unless none would be left."""
    registered = _Field(MpiplTag.KERNEL, "registered_regions")
    if _number(registered, faulty) > 1:
        _put(registered, _number(_Field(MpiplTag.KERNEL, "regions"), faulty) - 1, faulty)


def _fewer_cpus(faulty: FaultyDump) -> None:
    size_bytes = _Field(MpiplTag.CPU, "size_bytes", of_region=True)
    _put(size_bytes, _number(size_bytes, faulty) - cpu_data.THREAD_BYTES, faulty)


def _move_out(field: _Field, faulty: FaultyDump) -> None:
    _put(field, max(extent.end for extent in faulty.memory.ram) + _OUTSIDE_BYTES, faulty)


def _move_copy_over_registers(faulty: FaultyDump) -> None:
    _put(_BOOT_MEMORY_COPY, _number(_CPU_DATA, faulty), faulty)


def _in_threads(change: Callable[[list[bytearray]], list[bytearray]]) -> Callable[[FaultyDump], None]:
    """Change the CPU data: ``change`` is called with the data of all threads, and returns as many."""

    def apply(faulty: FaultyDump) -> None:
        place = _number(_CPU_DATA, faulty)
        if not place:
            return
        size_bytes = next(region.copied_bytes for region in faulty.preserved.regions if region.destination == place)
        data = faulty.memory.read(place, size_bytes)
        threads = [
            bytearray(data[at : at + cpu_data.THREAD_BYTES]) for at in range(0, size_bytes, cpu_data.THREAD_BYTES)
        ]
        faulty.write(place, b"".join(change(threads)))

    return apply


def _inactive(threads: list[bytearray]) -> list[bytearray]:
    for thread in threads:
        cpu_data.THREAD.put(thread, "core_state", cpu_data.INACTIVE)
    return threads


def _reversed(threads: list[bytearray]) -> list[bytearray]:
    return threads[::-1]


def _twice(threads: list[bytearray]) -> list[bytearray]:
    return [threads[0], *threads[:-1]]


def _unknown_cpu(threads: list[bytearray]) -> list[bytearray]:
    """Change the PIR of the last active thread."""
    for thread in threads[::-1]:
        if cpu_data.THREAD.decode(thread).core_state != cpu_data.INACTIVE:
            cpu_data.THREAD.put(thread, "pir", _UNKNOWN_PIR)
            break
    return threads


def _unknown_numbers(threads: list[bytearray]) -> list[bytearray]:
    for thread in threads:
        for index in range(10):
            at = cpu_data.THREAD.size_bytes + index * cpu_data.ENTRY.size_bytes
            cpu_data.ENTRY.put(thread, "type", RegisterType.SPR, at)
            cpu_data.ENTRY.put(thread, "number", _UNKNOWN_NUMBER, at)
    return threads


def _dump_faults() -> Iterator[DumpFault]:
    yield DumpFault("dump=missing", "the capture kernel is not told about the dump", _hide)
    yield DumpFault("boot-memory=short", "only part of boot memory is copied, and nothing reports it", _shorten)
    yield DumpFault("metadata=partly", "the kernel's metadata says that one range fewer was registered", _partly)
    yield DumpFault("registers=fewer-cpus", "the CPU data leaves out the last thread", _fewer_cpus)
    yield DumpFault("registers=outside", "the CPU data's address is outside memory", partial(_move_out, _CPU_DATA))
    yield DumpFault(
        "boot-memory=outside",
        "the address of the boot memory copy is outside memory",
        partial(_move_out, _BOOT_MEMORY_COPY),
    )
    yield DumpFault(
        "boot-memory=overlapping",
        "the address of the boot memory copy is that of the CPU data",
        _move_copy_over_registers,
    )
    kernel, opal, cpus = (partial(_Field, tag) for tag in (MpiplTag.KERNEL, MpiplTag.OPAL, MpiplTag.CPU))
    for name, text, field, value in (
        ("metadata=later-version", "the kernel's metadata has version 2", kernel("version"), 2),
        ("metadata=no-ranges", "the kernel's metadata says that no range was registered",
         kernel("registered_regions"), 0),
        ("metadata=no-header", "the kernel's metadata points to no crash-info header", kernel("crash_info"), 0),
        ("opal=later-version", "OPAL's own metadata has version 2", opal("version"), 2),
        ("opal=foreign-cpu", "OPAL's own metadata names a crashing CPU that does not exist",
         opal("crashing_pir"), _UNKNOWN_PIR),
        ("opal=no-regions", "OPAL's own metadata lists no regions", opal("regions"), 0),
        ("registers=nowhere", "the CPU data's address is 0", _CPU_DATA, 0),
        ("registers=later-version", "the CPU data has version 2", cpus("cpu_data_version"), 2),
        ("registers=no-size", "the CPU data's size per thread is 0", cpus("cpu_data_bytes"), 0),
        ("registers=too-large", "the CPU data's size per thread is 4 GiB", cpus("cpu_data_bytes"), 0xFFFF_FFFF),
    ):  # fmt: skip
        yield DumpFault(name, text, partial(_put, field, value))
    for name, text, change in (
        ("inactive", "the CPU data marks every thread as inactive", _inactive),
        ("reversed", "the CPU data lists the threads in reverse order", _reversed),
        ("twice", "the CPU data lists one thread twice and leaves out the last one", _twice),
        ("unknown-cpu", "the CPU data gives the last thread PIR 1023", _unknown_cpu),
        ("unknown-names", "ten of each thread's registers have unknown numbers", _unknown_numbers),
    ):
        yield DumpFault(f"registers={name}", text, _in_threads(change))


POWERNV_FAULTS = FaultNames(
    calls=_CALLS,
    statuses={status.name.lower().replace("_", "-"): int(status) for status in OpalStatus},
    dump_faults={fault.name: fault for faults in (_dump_faults(), crash_info_faults()) for fault in faults},
    present=_present,
    describe=_describe,
)
