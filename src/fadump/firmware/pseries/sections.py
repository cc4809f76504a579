"""Checking a registration: the structure in ibm,configure-kernel-dump's work buffer.

Step "register" of docs/architecture.md. Specification: LoPAR, ibm,configure-kernel-dump, R1-2 and the
table "Kernel Assisted Dump Memory Structure". LoPAR has a single status, -3, for all errors; the sentences here are
for the firmware's log.

Where LoPAR leaves it open, whatever would make a dump unreliable is refused:

* The length must be exact, 40 + 40 bytes per section: PowerVM requires it (Linux 6.12
  arch/powerpc/platforms/pseries/rtas-fadump.c, rtas_fadump_register()). So the first section is at 0x28, and there is
  no room for a dump disk's path: a structure with a dump disk is refused.
* A section that the firmware fills must have exactly the offered size, from offset 0. With less, its data
  would not fit; more "exceeds the source".
* Types below 0x100 that LoPAR reserves are refused. OS-defined ones, 0x100 and above, are copied like memory.
* No destination may overlap another. What is written must not overlap what is read, including its own source.
  A section whose source is its destination isn't written, so it may be in another's source: Linux puts its
  parameter area anywhere from 640 to 704 MiB on hash (fadump_setup_param_area()), which is inside boot memory if
  that is 1 GiB.
* A section of length 0 has no effect; its addresses are not checked.
* A section that doesn't request copying is checked like any other, and then not processed.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from fadump.abi.pseries.dump_structure import (
    HEADER_BYTES,
    MAX_SECTIONS,
    SECTION_BYTES,
    DumpSection,
    DumpStructure,
    SectionType,
)
from fadump.errors import AddressError, FadumpError, FormatError
from fadump.memory.guest import GuestMemory
from fadump.memory.ranges import Range, RangeSet

_LENGTHS = frozenset(HEADER_BYTES + SECTION_BYTES * count for count in range(1, MAX_SECTIONS + 1))
_MEMORY_TYPES = (SectionType.REAL_MODE_REGION, SectionType.OS_IDENTIFICATION)


class RegistrationError(FadumpError):
    """A registration is invalid; the guest gets status -3."""


def read_structure(memory: GuestMemory, rma: Range, address: int, length: int) -> DumpStructure:
    """Read the work buffer, once: later writes by the guest have no effect.

    :raises RegistrationError: it isn't in the RMA, or doesn't have a structure of that length.
    """
    if length not in _LENGTHS:
        raise RegistrationError(f"a work buffer of {length} bytes doesn't hold 1 to {MAX_SECTIONS} sections")
    if address <= 0 or not rma.contains(Range.sized(address, length)):
        raise RegistrationError(f"the work buffer at {address:#x}, {length} bytes, is not in the RMA {rma}")
    try:
        structure = DumpStructure.decode(memory.read(address, length))
    except (AddressError, FormatError) as error:
        raise RegistrationError(f"the work buffer at {address:#x} can't be read: {error}") from error
    expected = HEADER_BYTES + SECTION_BYTES * len(structure.sections)
    if length != expected:
        raise RegistrationError(f"{len(structure.sections)} sections take {expected} bytes, not {length}")
    return structure  # its first section is at 0x28, as there is no room for it elsewhere


def check_structure(structure: DumpStructure, ram: RangeSet, offered: Mapping[int, int]) -> None:
    """Check that the firmware can do at a crash what the structure asks for.

    ``offered`` has the sizes in bytes of the sections that the firmware fills, by type.

    :raises RegistrationError: it can't; the sentence names the section.
    """
    if _wants_disk(structure):
        raise RegistrationError("there is no dump disk to write to")
    for index, section in enumerate(structure.sections):
        _check_section(index, section, ram, offered)
    _check_overlaps([(index, section) for index, section in enumerate(structure.sections) if section.requested_bytes])


def source_range(section: DumpSection) -> Range | None:
    """The guest memory that a section reads; None if the firmware fills it."""
    if is_from_memory(section.type):
        return Range.sized(section.source, section.requested_bytes)
    return None


def destination_range(section: DumpSection) -> Range:
    """The guest memory that a section's data is written to."""
    return Range.sized(section.destination, section.requested_bytes)


def is_in_place(section: DumpSection) -> bool:
    """Whether a section is memory that is preserved in place."""
    return is_from_memory(section.type) and section.source == section.destination


def is_from_memory(section_type: int) -> bool:
    """Whether a section of this type is copied from guest memory, and not filled by the firmware."""
    return section_type in _MEMORY_TYPES or section_type >= SectionType.OS_DEFINED_FIRST


def _wants_disk(structure: DumpStructure) -> bool:
    return any(
        (
            structure.disk_block_bytes,
            structure.disk_start_block,
            structure.disk_block_count,
            structure.disk_path_offset,
        )
    )


def _check_section(index: int, section: DumpSection, ram: RangeSet, offered: Mapping[int, int]) -> None:
    if not is_from_memory(section.type):
        _check_offered(index, section, offered)
    source = source_range(section)
    if source is not None and not ram.contains(source):
        raise RegistrationError(f"section {index}'s source {source} is not all RAM")
    destination = destination_range(section)
    if not ram.contains(destination):
        raise RegistrationError(f"section {index}'s destination {destination} is not all RAM")


def _check_offered(index: int, section: DumpSection, offered: Mapping[int, int]) -> None:
    if section.type not in offered:
        raise RegistrationError(f"section {index} has the reserved type {section.type:#x}")
    if section.requested_bytes != offered[section.type]:
        raise RegistrationError(
            f"section {index} of type {section.type:#x} asks for {section.requested_bytes:#x} bytes, "
            f"offered are {offered[section.type]:#x}"
        )
    if section.requested_bytes and section.source:
        raise RegistrationError(f"section {index} of type {section.type:#x} begins at {section.source:#x}, not 0")


def _check_overlaps(sections: Sequence[tuple[int, DumpSection]]) -> None:
    """Check ``sections``, none of them empty, with their indices in the structure."""
    destinations = [(destination_range(section), index) for index, section in sections]
    _check_disjoint(destinations)
    for index, section in sections:
        if is_in_place(section):
            continue
        written = destination_range(section)
        for other_index, read in _sources(sections):
            if written.overlaps(read):
                raise RegistrationError(f"section {index} would overwrite section {other_index}'s source {read}")


def _check_disjoint(destinations: Iterable[tuple[Range, int]]) -> None:
    ordered = sorted(destinations)
    for (lower, index), (upper, other_index) in pairwise(ordered):
        if lower.overlaps(upper):
            raise RegistrationError(f"the destinations of sections {index} and {other_index} overlap: {lower}, {upper}")


def _sources(sections: Sequence[tuple[int, DumpSection]]) -> list[tuple[int, Range]]:
    return [(index, source) for index, section in sections if (source := source_range(section)) is not None]
