"""Taking the dump: every section of the registered structure is processed and gets its result.

Step "preserve" of docs/architecture.md. Specification: LoPAR, ibm,configure-kernel-dump, R1-3 and the table
"Kernel Assisted Dump Memory Structure"; register save area, "Firmware Assisted Dump Data Format". Its reader: Linux
arch/powerpc/platforms/pseries/rtas-fadump.c, rtas_fadump_process(), which discards the whole dump if a section of
the firmware's types has an error flag or fewer bytes than requested.
"""

from collections.abc import Sequence
from dataclasses import replace

from fadump.abi.pseries import register_save_area
from fadump.abi.pseries.dump_structure import (
    REQUEST_COPY,
    DumpSection,
    DumpStatus,
    DumpStructure,
    SectionError,
    SectionType,
)
from fadump.abi.registers import CpuRegisters
from fadump.firmware.contract import PreservedDump, PreservedRegion
from fadump.firmware.preserve import CopyFault, copy_aside, kept_ranges
from fadump.firmware.pseries.sections import destination_range, is_from_memory, is_in_place, source_range
from fadump.memory.guest import GuestMemory
from fadump.memory.ranges import RangeSet

_NO_ERROR = SectionError(0)
_NAMES: dict[int, str] = {
    SectionType.CPU_STATE: "CPU state",
    SectionType.HPTE: "hash page table",
    SectionType.REAL_MODE_REGION: "copy of boot memory",
    SectionType.PARAMETER_AREA: "command line for the capture kernel, kept in place",
}
_COPY_ERRORS = {
    None: _NO_ERROR,
    CopyFault.SOURCE: SectionError.INVALID_SOURCE,
    CopyFault.DESTINATION: SectionError.INVALID_DESTINATION,
}


def take_dump(structure: DumpStructure, memory: GuestMemory, cpus: Sequence[CpuRegisters]) -> PreservedDump:
    """Process a registered structure's sections in order; one that fails is marked, and the others still processed.

    ``cpus`` are the CPUs online at the crash. A CPU state section is zero-filled to its length, which counts as
    written. An HPTE section counts as written, too: the machine does that, see :class:`.PreservedDump`.
    """
    sections = tuple(_processed(section, memory, cpus) for section in structure.sections)
    status = DumpStatus.PERFORMED | DumpStatus.TRIGGERED
    if any(section.error_flags for section in sections):
        status |= DumpStatus.ERROR
    return describe_dump(replace(structure, status=status, sections=sections), memory.ram)


def describe_dump(structure: DumpStructure, ram: RangeSet) -> PreservedDump:
    """The dump that a processed structure describes; ``ram`` is all memory, of which some must be kept."""
    preserved = [section for section in structure.sections if section.copied_bytes]
    boot_memory = RangeSet(
        source
        for section in preserved
        if section.type == SectionType.REAL_MODE_REGION and not is_in_place(section)
        if (source := source_range(section)) is not None
    )
    return PreservedDump(
        regions=tuple(_region(section) for section in structure.sections),
        structure=structure.encode(),
        boot_memory=boot_memory,
        keep=kept_ranges(ram, boot_memory, map(destination_range, preserved)),
        crash_info=_copies_end(structure),
        hash_tables=tuple(destination_range(section) for section in preserved if section.type == SectionType.HPTE),
    )


def _copies_end(structure: DumpStructure) -> int | None:
    """The end of the copies of boot memory, where Linux's crash-info header is; None if there are none.

    See Linux's rtas_fadump_update_config(). The copies are contiguous, in the order of their sources.
    """
    regions = (section for section in structure.sections if section.type == SectionType.REAL_MODE_REGION)
    copies = [region for region in regions if region.requested_bytes]
    if not copies:
        return None
    return min(copy.destination for copy in copies) + sum(copy.requested_bytes for copy in copies)


def _processed(section: DumpSection, memory: GuestMemory, cpus: Sequence[CpuRegisters]) -> DumpSection:
    if not section.request_flags & REQUEST_COPY:
        return replace(section, error_flags=_NO_ERROR, copied_bytes=0)
    error = _fill(section, memory, cpus)
    return replace(section, error_flags=error, copied_bytes=0 if error else section.requested_bytes)


def _fill(section: DumpSection, memory: GuestMemory, cpus: Sequence[CpuRegisters]) -> SectionError:
    if not section.requested_bytes:
        return _NO_ERROR
    if section.type == SectionType.CPU_STATE:
        return _write_cpu_state(section, memory, cpus)
    if section.type == SectionType.HPTE:  # written by the machine, which has the table
        is_ram = memory.ram.contains(destination_range(section))
        return _NO_ERROR if is_ram else SectionError.INVALID_DESTINATION
    if is_from_memory(section.type):
        return _COPY_ERRORS[copy_aside(memory, section.source, section.destination, section.requested_bytes)]
    return SectionError.INVALID_TYPE  # a firmware section that was never offered


def _write_cpu_state(section: DumpSection, memory: GuestMemory, cpus: Sequence[CpuRegisters]) -> SectionError:
    if not memory.ram.contains(destination_range(section)):
        return SectionError.INVALID_DESTINATION
    try:
        area = register_save_area.encode(cpus, section.requested_bytes)
    except ValueError:  # more CPUs or registers than the offered size has room for
        return SectionError.DESTINATION_TOO_SMALL
    memory.write(section.destination, area)
    return _NO_ERROR


def _region(section: DumpSection) -> PreservedRegion:
    return PreservedRegion(
        type=section.type,
        source=section.source,
        requested_bytes=section.requested_bytes,
        copied_bytes=section.copied_bytes,
        destination=section.destination,
        error_flags=section.error_flags,
        name=_NAMES.get(section.type, f"section type {section.type:#x}"),
    )
