"""Every call to the pseries firmware and its answer, one row each. Tests run the rows, documents print them.

The statuses are LoPAR's (ibm,configure-kernel-dump and ibm,os-term), where its text leaves no choice; what it
leaves open is written down in :mod:`fadump.firmware.pseries.calls` and :mod:`.sections`.
"""

from dataclasses import dataclass, replace
from struct import pack

from fadump.abi.pseries.dump_structure import DumpSection, DumpStructure, SectionType
from fadump.abi.pseries.rtas import DumpCommand, RtasStatus
from fadump.firmware.contract import State
from tests.firmware.pseries.guest import (
    BOOT_COPY,
    BOOT_MEMORY,
    CONFIGURE_TOKEN,
    CPU_STATE,
    CPU_STATE_BYTES,
    DIMM,
    HPTE,
    MESSAGE,
    OS_TERM_TOKEN,
    OTHER_TOKEN,
    PARAMETERS,
    RMA,
    STRUCTURE,
    UPPER,
    WORK_BUFFER,
    section,
    with_section,
)

PASSED_THROUGH = "passed through"
TRIGGERS_A_DUMP = "triggers a dump"

OK = RtasStatus.SUCCESS
BAD = RtasStatus.PARAMETER_ERROR

_FREE = 0x70_0000  # RAM that no section of Linux's structure touches
_OS_STRING = section(SectionType.OS_IDENTIFICATION, 0x1000, 0x100, _FREE)
_OS_DEFINED = section(0xFFFF, 0x30_0000, 0x100, _FREE)


@dataclass(frozen=True, slots=True)
class Row:
    """One call: the ``state`` it finds, what is passed, the status or what else comes of it, the state ``after``.

    ``buffer`` is written to the address among ``args`` first, if there is RAM for it.
    """

    state: State
    description: str
    expected: RtasStatus | str
    after: State
    args: tuple[int, ...]
    buffer: bytes = b""
    returns: int = 1
    token: int = CONFIGURE_TOKEN


def _register(
    description: str,
    expected: RtasStatus,
    buffer: DumpStructure | bytes = STRUCTURE,
    *,
    address: int = WORK_BUFFER,
    length: int | None = None,
    state: State = State.IDLE,
) -> Row:
    data = buffer if isinstance(buffer, bytes) else buffer.encode()
    args = (DumpCommand.REGISTER, address, len(data) if length is None else length)
    after = State.REGISTERED if expected is OK else state
    return Row(state, f"register: {description}", expected, after, args, data)


def _other(command: DumpCommand, state: State, expected: RtasStatus, after: State, note: str = "") -> Row:
    # 440 is what Linux passes to these two, whatever it has registered
    description = f"{command.name.lower()}{note}"
    return Row(state, description, expected, after, (command, WORK_BUFFER, 440))


def _os_term(state: State, expected: str, after: State) -> Row:
    return Row(state, "os-term", expected, after, (MESSAGE,), token=OS_TERM_TOKEN)


def _patched(offset: int, field: bytes, structure: DumpStructure = STRUCTURE) -> bytes:
    data = bytearray(structure.encode())
    data[offset : offset + len(field)] = field
    return bytes(data)


def _sections(*sections: DumpSection) -> DumpStructure:
    return DumpStructure(sections=sections)


_EMPTY_SECTIONS = tuple(section(SectionType.REAL_MODE_REGION, 0, 0, 0) for _ in range(10))

ARGUMENTS = [
    Row(State.IDLE, "no arguments", BAD, State.IDLE, ()),
    Row(State.IDLE, "2 arguments", BAD, State.IDLE, (DumpCommand.UNREGISTER, WORK_BUFFER)),
    Row(State.IDLE, "4 arguments", BAD, State.IDLE, (DumpCommand.UNREGISTER, WORK_BUFFER, 440, 0)),
    Row(State.IDLE, "no room for a status", BAD, State.IDLE, (DumpCommand.UNREGISTER, WORK_BUFFER, 440), returns=0),
    Row(State.IDLE, "room for 2 results", BAD, State.IDLE, (DumpCommand.UNREGISTER, WORK_BUFFER, 440), returns=2),
    Row(State.IDLE, "command 0", BAD, State.IDLE, (0, WORK_BUFFER, 200), STRUCTURE.encode()),
    Row(State.IDLE, "command 4", BAD, State.IDLE, (4, WORK_BUFFER, 200), STRUCTURE.encode()),
    Row(State.ACTIVE, "command 0xffffffff", BAD, State.ACTIVE, (0xFFFF_FFFF, WORK_BUFFER, 200)),
    Row(State.REGISTERED, "another function's token", PASSED_THROUGH, State.REGISTERED, (1,), token=OTHER_TOKEN),
]

WORK_BUFFERS = [
    _register("what Linux asks for", OK),
    _register("work buffer at 0", BAD, address=0),
    _register("work buffer not aligned", OK, address=WORK_BUFFER + 1),
    _register("work buffer ends with the RMA", OK, address=RMA.end - 200),
    _register("work buffer reaches out of the RMA", BAD, address=RMA.end - 199),
    _register("work buffer above the RMA", BAD, address=UPPER.start),
    _register("work buffer in no RAM", BAD, address=DIMM.end),
    _register("work buffer wraps at 4 GiB", BAD, address=0xFFFF_FFF0),
    _register("length 0", BAD, length=0),
    _register("length of the header only", BAD, length=0x28),
    _register("length one short", BAD, length=199),
    _register("length one over", BAD, length=201),
    _register("length of one section less", BAD, length=160),
    _register("length of one section more", BAD, length=240),
    _register("length of the largest structure for a smaller one", BAD, length=440),
    _register("length 0xffffffff", BAD, length=0xFFFF_FFFF),
]

HEADERS = [
    _register("version 0", BAD, _patched(0, pack(">I", 0))),
    _register("version 2", BAD, _patched(0, pack(">I", 2))),
    _register("section count 0", BAD, _patched(4, pack(">H", 0))),
    _register("section count 0, length of the header", BAD, _patched(4, pack(">H", 0))[:0x28]),
    _register("section count 1 with that length", OK, _sections(CPU_STATE)),
    _register("section count 10 with that length", OK, _sections(*_EMPTY_SECTIONS)),
    _register("section count 11", BAD, _patched(4, pack(">H", 11), _sections(*_EMPTY_SECTIONS)) + bytes(40)),
    _register("section count 65535", BAD, _patched(4, pack(">H", 0xFFFF))),
    _register("first section at 0", BAD, _patched(8, pack(">I", 0))),
    _register("first section at 0x29", BAD, _patched(8, pack(">I", 0x29))),
    _register("first section one further on", BAD, _patched(4, pack(">HHI", 3, 0, 0x50))),
    _register("first section at 0xffffffff", BAD, _patched(8, pack(">I", 0xFFFF_FFFF))),
    _register("status bits set by the caller", OK, _patched(6, pack(">H", 0xFFFF))),
    _register("a dump disk's block size", BAD, replace(STRUCTURE, disk_block_bytes=512)),
    _register("a dump disk's path", BAD, replace(STRUCTURE, disk_path_offset=0x28)),
    _register("a time to the automatic dump", OK, replace(STRUCTURE, max_time_auto_ms=30_000)),
]

TYPES = [
    *[
        _register(f"type {type_:#x}, reserved", BAD, with_section(section(type_, 0, 0x100, _FREE)))
        for type_ in (0, 3, 0x10, 0x13, 0xFF)
    ],
    _register("type 0x12, OS identification string", OK, with_section(_OS_STRING)),
    _register("type 0x100, OS-defined, moved", OK, with_section(replace(_OS_DEFINED, type=0x100))),
    _register("type 0xffff, OS-defined", OK, with_section(_OS_DEFINED)),
    _register("error flags set by the caller", OK, with_section(replace(_OS_DEFINED, error_flags=0xFFFF))),
    _register("a section that doesn't ask for copying", OK, with_section(replace(_OS_DEFINED, request_flags=0))),
    _register("reserved request flags", OK, with_section(replace(_OS_DEFINED, request_flags=0xFFFF_FFFF))),
    _register(
        "a bad section that doesn't ask for copying",
        BAD,
        with_section(replace(_OS_DEFINED, request_flags=0, source=DIMM.end)),
    ),
    _register(
        "CPU state shorter than offered", BAD, _sections(replace(CPU_STATE, requested_bytes=CPU_STATE_BYTES - 1))
    ),
    _register("CPU state of length 0", BAD, _sections(replace(CPU_STATE, requested_bytes=0))),
    _register("CPU state longer than offered", BAD, _sections(replace(CPU_STATE, requested_bytes=CPU_STATE_BYTES + 1))),
    _register("CPU state not from its start", BAD, _sections(replace(CPU_STATE, source=0x10))),
    _register("CPU state to no RAM", BAD, _sections(replace(CPU_STATE, destination=UPPER.end))),
    _register("HPTE of the offered length, 0", OK, _sections(HPTE)),
    _register("HPTE longer than offered", BAD, _sections(replace(HPTE, requested_bytes=0x1_0000))),
]

RANGES = [
    _register(
        "region of length 0 at no RAM", OK, _sections(section(SectionType.REAL_MODE_REGION, 1 << 63, 0, 1 << 63))
    ),
    _register("source = destination", OK, _sections(replace(BOOT_COPY, destination=BOOT_COPY.source))),
    _register("destination above the RMA", OK, _sections(BOOT_COPY)),
    _register(
        "destination in the DIMM", OK, _sections(section(SectionType.REAL_MODE_REGION, 0, 0x10_0000, DIMM.start))
    ),
    _register("region across two pieces of RAM that adjoin", OK, _sections(section(0x11, 0x3F_F000, 0x2000, _FREE))),
    _register("source ends where RAM ends", OK, _sections(section(0x11, UPPER.end - 0x1000, 0x1000, _FREE))),
    _register("source leaves RAM", BAD, _sections(section(0x11, UPPER.end - 0xFFF, 0x1000, _FREE))),
    _register("source in the hole", BAD, _sections(section(0x11, UPPER.end, 0x1000, _FREE))),
    _register("source spans the hole", BAD, _sections(section(0x100, 0x70_0000, 0x60_0000, 0x70_0000))),
    _register("source wraps at 2^64", BAD, _sections(section(0x11, (1 << 64) - 0x1000, 0x2000, _FREE))),
    _register("length 2^64 - 1", BAD, _sections(section(0x11, 0x1000, (1 << 64) - 1, _FREE))),
    _register("destination leaves RAM", BAD, _sections(section(0x11, 0, 0x1000, DIMM.end - 0xFFF))),
    _register("destination in the hole", BAD, _sections(section(0x11, 0, 0x1000, UPPER.end))),
    _register("destination wraps at 2^64", BAD, _sections(section(0x11, 0, 0x2000, (1 << 64) - 0x1000))),
    _register("OS-defined source leaves RAM", BAD, _sections(section(0x100, DIMM.end - 1, 2, DIMM.end - 1))),
]

OVERLAPS = [
    _register("destinations adjoin", OK, with_section(replace(_OS_DEFINED, destination=BOOT_COPY.destination - 0x100))),
    _register(
        "destinations overlap by a byte",
        BAD,
        with_section(replace(_OS_DEFINED, destination=BOOT_COPY.destination - 0xFF)),
    ),
    _register("the same destination twice", BAD, _sections(CPU_STATE, CPU_STATE)),
    _register(
        "a destination inside another",
        BAD,
        with_section(replace(_OS_DEFINED, destination=BOOT_COPY.destination + 0x1000)),
    ),
    _register("a destination in its own source", BAD, _sections(section(0x11, 0, 0x2000, 0x1000))),
    _register("a destination in another's source", BAD, with_section(replace(_OS_DEFINED, destination=0x1000))),
    _register(
        "CPU state into boot memory", BAD, _sections(replace(CPU_STATE, destination=BOOT_MEMORY.end - 1), BOOT_COPY)
    ),
    _register("a destination over an area that stays", BAD, with_section(section(0x101, 0, 0x100, PARAMETERS.source))),
    _register(
        "an area that stays, inside boot memory", OK, _sections(BOOT_COPY, section(0x100, 0x8000, 0x800, 0x8000))
    ),
    _register(
        "sources overlap", OK, _sections(section(0x11, 0, 0x2000, _FREE), section(0x11, 0x1000, 0x2000, _FREE + 0x2000))
    ),
    _register(
        "destinations overlap around an empty section",
        BAD,
        _sections(
            section(0x11, 0, 0x3000, _FREE), section(0x11, 0, 0, _FREE + 1), section(0x11, 0, 0x1000, _FREE + 0x2000)
        ),
    ),
    _register(
        "empty section inside another's destination",
        OK,
        with_section(replace(_OS_DEFINED, requested_bytes=0, destination=BOOT_COPY.destination + 0x1000)),
    ),
]

_NONSENSE = b"\xff" * 200
STATES = [
    _register("again", RtasStatus.ALREADY_REGISTERED, state=State.REGISTERED),
    _register("again, with nonsense", RtasStatus.ALREADY_REGISTERED, _NONSENSE, state=State.REGISTERED),
    _register("with a dump active", RtasStatus.DUMP_ACTIVE, state=State.ACTIVE),
    _register("nonsense with a dump active", RtasStatus.DUMP_ACTIVE, _NONSENSE, state=State.ACTIVE),
    _register("while a dump is taken", RtasStatus.DUMP_ACTIVE, state=State.TRIGGERED),
    _register("after invalidating", OK, state=State.INVALIDATED),
    _other(DumpCommand.UNREGISTER, State.IDLE, OK, State.IDLE),
    _other(DumpCommand.UNREGISTER, State.REGISTERED, OK, State.IDLE),
    _other(DumpCommand.UNREGISTER, State.TRIGGERED, RtasStatus.DUMP_ACTIVE, State.TRIGGERED),
    _other(DumpCommand.UNREGISTER, State.ACTIVE, RtasStatus.DUMP_ACTIVE, State.ACTIVE),
    _other(DumpCommand.UNREGISTER, State.INVALIDATED, OK, State.INVALIDATED),
    _other(DumpCommand.INVALIDATE, State.IDLE, BAD, State.IDLE),
    _other(DumpCommand.INVALIDATE, State.REGISTERED, BAD, State.REGISTERED),
    _other(DumpCommand.INVALIDATE, State.TRIGGERED, BAD, State.TRIGGERED),
    _other(DumpCommand.INVALIDATE, State.ACTIVE, OK, State.INVALIDATED),
    _other(DumpCommand.INVALIDATE, State.INVALIDATED, BAD, State.INVALIDATED),
    Row(State.REGISTERED, "unregister, buffer nowhere", OK, State.IDLE, (DumpCommand.UNREGISTER, 0xFFFF_FFFF, 0)),
    Row(State.ACTIVE, "invalidate, buffer nowhere", OK, State.INVALIDATED, (DumpCommand.INVALIDATE, 0xFFFF_FFFF, 0)),
    _os_term(State.IDLE, PASSED_THROUGH, State.IDLE),
    _os_term(State.REGISTERED, TRIGGERS_A_DUMP, State.TRIGGERED),
    _os_term(State.TRIGGERED, TRIGGERS_A_DUMP, State.TRIGGERED),
    _os_term(State.ACTIVE, TRIGGERS_A_DUMP, State.ACTIVE),
    _os_term(State.INVALIDATED, PASSED_THROUGH, State.INVALIDATED),
    Row(State.REGISTERED, "os-term without arguments", TRIGGERS_A_DUMP, State.TRIGGERED, (), token=OS_TERM_TOKEN),
]

ROWS = [*ARGUMENTS, *WORK_BUFFERS, *HEADERS, *TYPES, *RANGES, *OVERLAPS, *STATES]
