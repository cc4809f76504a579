"""The faults of the pseries firmware.

Steps "register", "preserve" and "handover" of docs/architecture.md. Specification of what they change: LoPAR,
ibm,configure-kernel-dump's statuses and section error flags, and the register save area. Its reader: Linux
arch/powerpc/platforms/pseries/rtas-fadump.c. The layouts are :mod:`fadump.abi.pseries.dump_structure`'s and
:mod:`.register_save_area`'s.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

from fadump.abi.pseries import register_save_area, rtas
from fadump.abi.pseries.dump_structure import (
    HEADER,
    SECTION,
    DumpSection,
    DumpStatus,
    DumpStructure,
    SectionError,
    SectionType,
)
from fadump.abi.pseries.hash_table import GROUP_BYTES
from fadump.abi.pseries.rtas import RtasStatus
from fadump.abi.registers import CpuRegisters
from fadump.errors import FormatError
from fadump.firmware.contract import CallName, PreservedDump
from fadump.firmware.crash_info_faults import crash_info_faults
from fadump.firmware.faults import DumpFault, FaultNames, FaultyDump
from fadump.firmware.pseries.dump import describe_dump
from fadump.memory.devicetree import DeviceTree
from fadump.memory.ranges import Range, RangeSet

_RESERVED_TYPE = 3
_UNKNOWN_CPU = 63
_OUTSIDE_BYTES = 0x1_0000
_PARTS = {
    "cpu-state": (SectionType.CPU_STATE, "the CPU state section"),
    "hpte": (SectionType.HPTE, "the hash page table section"),
    "boot-memory": (SectionType.REAL_MODE_REGION, "the boot memory section"),
    "parameters": (SectionType.PARAMETER_AREA, "the command line section"),
}
_CALLS = {
    CallName.REGISTER: "ibm,configure-kernel-dump, register",
    CallName.UNREGISTER: "ibm,configure-kernel-dump, unregister",
    CallName.INVALIDATE: "ibm,configure-kernel-dump, invalidate",
    CallName.TERMINATE: "ibm,os-term",
}
_STATUSES = {
    **{status.name.lower().replace("_", "-"): int(status) for status in RtasStatus if status.name[:8] != "EXTENDED"},
    "delay-1ms": int(RtasStatus.EXTENDED_DELAY_MIN),
    "delay-100s": int(RtasStatus.EXTENDED_DELAY_MAX),
}


def _present(tree: DeviceTree, faulty: FaultyDump) -> None:
    node = tree.find("/rtas")
    if node is None:
        return
    node.properties.pop(rtas.KERNEL_DUMP, None)
    if faulty.structure is not None:
        node.properties[rtas.KERNEL_DUMP] = bytes(faulty.structure)


def _describe(dump: PreservedDump, structure: bytes) -> PreservedDump:
    """The dump with its sections as presented; what is kept, and where the crash-info header is, doesn't change."""
    try:
        return replace(dump, regions=describe_dump(DumpStructure.decode(structure), RangeSet()).regions)
    except FormatError:  # the fault made it unreadable
        return dump


def _in_header(field: str, value: int) -> Callable[[FaultyDump], None]:
    def apply(faulty: FaultyDump) -> None:
        if faulty.structure is not None:
            HEADER.put(faulty.structure, field, value)

    return apply


def _hide(faulty: FaultyDump) -> None:
    faulty.structure = None


def _sections(faulty: FaultyDump, wanted: SectionType) -> Iterator[tuple[int, DumpSection]]:
    """Offset and contents of each section of a type, without faults."""
    for index, section in enumerate(DumpStructure.decode(faulty.preserved.structure).sections):
        if section.type == wanted:
            yield HEADER.size_bytes + index * SECTION.size_bytes, section


def _in_section(
    type_: SectionType, change: Callable[[FaultyDump, bytearray, int, DumpSection], None]
) -> Callable[[FaultyDump], None]:
    """Change the first section of a type."""

    def apply(faulty: FaultyDump) -> None:
        for offset, section in _sections(faulty, type_):
            if faulty.structure is not None:
                change(faulty, faulty.structure, offset, section)
            return

    return apply


def _mark(error: SectionError, _faulty: FaultyDump, structure: bytearray, offset: int, _section: DumpSection) -> None:
    """Make a section one that wasn't copied because of ``error``."""
    SECTION.put(structure, "error_flags", error, offset)
    SECTION.put(structure, "copied_bytes", 0, offset)


def _shorten(faulty: FaultyDump, structure: bytearray, offset: int, section: DumpSection) -> None:
    """Remove the second half of a section, which says so."""
    copied_bytes = section.requested_bytes // 2
    if section.source != section.destination:
        end = section.destination + section.requested_bytes
        faulty.discard(Range(section.destination + copied_bytes, end))
    SECTION.put(structure, "copied_bytes", copied_bytes, offset)
    if section.type == SectionType.HPTE:
        faulty.hash_tables = tuple(Range.sized(to.start, to.size_bytes // 2) for to in faulty.hash_tables)


def _move_out(faulty: FaultyDump, structure: bytearray, offset: int, _section: DumpSection) -> None:
    outside = max(extent.end for extent in faulty.memory.ram) + _OUTSIDE_BYTES
    SECTION.put(structure, "destination", outside, offset)


def _move_over(faulty: FaultyDump, structure: bytearray, offset: int, section: DumpSection) -> None:
    """Move a section over another one's data: boot memory over the CPU state, others over boot memory."""
    other = SectionType.CPU_STATE if section.type == SectionType.REAL_MODE_REGION else SectionType.REAL_MODE_REGION
    for _offset, found in _sections(faulty, other):
        SECTION.put(structure, "destination", found.destination, offset)
        return


def _forget_type(_faulty: FaultyDump, structure: bytearray, offset: int, _section: DumpSection) -> None:
    SECTION.put(structure, "type", _RESERVED_TYPE, offset)


def _shift_table(faulty: FaultyDump) -> None:
    """Have the machine write each hash page table one group too far, and leave the first group what it was."""
    faulty.hash_tables = tuple(Range(min(to.start + GROUP_BYTES, to.end), to.end) for to in faulty.hash_tables)


def _section_faults() -> Iterator[DumpFault]:
    for part, (type_, what) in _PARTS.items():
        for error in SectionError:
            assert error.name is not None  # noqa: S101 - each is one flag
            name = error.name.lower().replace("_", "-")
            text = f"{what} is not copied; its error flags say: {name.replace('-', ' ')}"
            yield DumpFault(f"{part}={name}", text, _in_section(type_, partial(_mark, error)))
        yield DumpFault(f"{part}=short", f"only half of {what} is copied", _in_section(type_, _shorten))
        yield DumpFault(f"{part}=outside", f"{what} points outside memory", _in_section(type_, _move_out))
        yield DumpFault(
            f"{part}=overlapping", f"{what} points to another section's data", _in_section(type_, _move_over)
        )
        yield DumpFault(f"{part}=unknown-type", f"{what} has an unknown type", _in_section(type_, _forget_type))


def _table_faults() -> Iterator[DumpFault]:
    yield DumpFault("hpte=shifted", "the hash page table is copied 128 bytes too far, and not whole", _shift_table)


def _structure_faults() -> Iterator[DumpFault]:
    error = DumpStatus.PERFORMED | DumpStatus.TRIGGERED | DumpStatus.ERROR
    yield DumpFault("dump=missing", "the capture kernel is not told about the dump", _hide)
    yield DumpFault(
        "dump=error", "the status in the dump memory structure reports an error", _in_header("status", error)
    )
    yield DumpFault("dump=later-version", "the dump memory structure has version 2", _in_header("version", 2))
    yield DumpFault("dump=no-sections", "the dump memory structure has no sections", _in_header("sections", 0))


def _in_area(change: Callable[[bytearray, list[CpuRegisters]], bytes | bytearray]) -> Callable[[FaultyDump], None]:
    """Change the register save area: ``change`` gets it and its CPUs, and returns another of the same size."""

    def apply(faulty: FaultyDump) -> None:
        for _offset, section in _sections(faulty, SectionType.CPU_STATE):
            area = bytearray(faulty.memory.read(section.destination, section.requested_bytes))
            changed = change(area, register_save_area.decode(memoryview(area)))
            faulty.write(section.destination, changed[: len(area)].ljust(len(area), b"\0"))
            return

    return apply


def _area_field(field: str, value: int) -> Callable[[bytearray, list[CpuRegisters]], bytearray]:
    def change(area: bytearray, _cpus: list[CpuRegisters]) -> bytearray:
        register_save_area.HEADER.put(area, field, value)
        return area

    return change


def _count(of: Callable[[int], int]) -> Callable[[bytearray, list[CpuRegisters]], bytearray]:
    """Change the number of CPUs to ``of`` the right one."""

    def change(area: bytearray, cpus: list[CpuRegisters]) -> bytearray:
        register_save_area.CPU_COUNT.put(area, "cpus", of(len(cpus)), register_save_area.CPU_COUNT_OFFSET)
        return area

    return change


def _no_magic(area: bytearray, _cpus: list[CpuRegisters]) -> bytearray:
    register_save_area.HEADER.put(area, "magic", b"")
    return area


def _renamed(old: bytes, new: bytes, *, last: bool = False) -> Callable[[bytearray, list[CpuRegisters]], bytearray]:
    """Rename the first or the last entry of a name."""

    def change(area: bytearray, _cpus: list[CpuRegisters]) -> bytearray:
        at = area.rfind(old) if last else area.find(old)
        area[at : at + len(old)] = new
        return area

    return change


def _unknown_names(area: bytearray, _cpus: list[CpuRegisters]) -> bytearray:
    return area.replace(b"GPR0", b"XYZ0")


def _reversed(area: bytearray, cpus: list[CpuRegisters]) -> bytes:
    return register_save_area.encode(cpus[::-1], len(area))


def _unknown_cpu(area: bytearray, cpus: list[CpuRegisters]) -> bytes:
    *others, last = cpus
    return register_save_area.encode([*others, CpuRegisters(_UNKNOWN_CPU, last.values)], len(area))


def _twice(area: bytearray, cpus: list[CpuRegisters]) -> bytes:
    return register_save_area.encode([cpus[0], *cpus[:-1]], len(area))


def _area_faults() -> Iterator[DumpFault]:
    for name, text, change in (
        ("no-magic", "the register save area has no magic number", _no_magic),
        ("later-version", "the register save area has version 1", _area_field("version", 1)),
        ("no-cpus", "the register save area's CPU count is 0", _count(lambda _cpus: 0)),
        ("fewer-cpus", "the register save area's CPU count is one too low", _count(lambda cpus: cpus - 1)),
        ("more-cpus", "the register save area's CPU count is one too high", _count(lambda cpus: cpus + 1)),
        ("endless-cpus", "the register save area's CPU count is 4294967295", _count(lambda _cpus: 0xFFFF_FFFF)),
        (
            "count-outside",
            "the offset of the register save area's CPU count is almost 4 GiB",
            _area_field("cpu_count_offset", 0xFFFF_FFF0),
        ),
        ("no-start", "one CPU's registers have no CPUSTRT entry", _renamed(b"CPUSTRT", b"CPUNONE")),
        ("no-end", "one CPU's registers have no CPUEND entry", _renamed(b"CPUEND\0", b"CPUNONE")),
        ("no-last-end", "the last CPU's registers have no CPUEND entry", _renamed(b"CPUEND\0", b"CPUNONE", last=True)),
        ("unknown-names", "ten of each CPU's registers have unknown names", _unknown_names),
        ("reversed", "the register save area lists the CPUs in reverse order", _reversed),
        ("twice", "the register save area lists one CPU twice and leaves out the last one", _twice),
        ("unknown-cpu", "the register save area lists the last CPU as number 63", _unknown_cpu),
    ):
        yield DumpFault(f"registers={name}", text, _in_area(change))


PSERIES_FAULTS = FaultNames(
    calls=_CALLS,
    statuses=_STATUSES,
    dump_faults={
        fault.name: fault
        for faults in (_structure_faults(), _section_faults(), _table_faults(), _area_faults(), crash_info_faults())
        for fault in faults
    },
    present=_present,
    describe=_describe,
)
