"""Every call to the powernv firmware and its answer, one row each. Tests run the rows, documents print them.

The statuses are those of skiboot's code (core/opal-dump.c, core/platform.c); what the firmware is stricter in is
written down in :mod:`fadump.firmware.powernv.ranges`.
"""

from dataclasses import dataclass

from fadump.abi.powernv.mpipl import MpiplOperation, MpiplTag
from fadump.abi.powernv.opal import OpalStatus, OpalToken, RebootType
from fadump.firmware.contract import State
from tests.firmware.powernv.guest import (
    AREAS,
    BOOT_MEMORY,
    BOOT_RANGE,
    COPY,
    DIMM,
    FREE,
    KERNEL_METADATA,
    LINEAR_MAPPING,
    LOWER,
    OPAL,
    OPAL_COPY,
    TAG_VALUE,
)

PASSED_THROUGH = "passed through"
TRIGGERS_A_DUMP = "triggers a dump"

OK = OpalStatus.SUCCESS
BAD = OpalStatus.PARAMETER
FULL = OpalStatus.RESOURCE

_ABOVE = BOOT_MEMORY.end
"""RAM that is in no range yet."""


@dataclass(frozen=True, slots=True)
class Row:
    """One call: the ``state`` it finds, what is passed, the status or what else comes of it, the state ``after``.

    ``ranges`` are registered first, on top of what led to the state.
    """

    state: State
    description: str
    expected: OpalStatus | str
    after: State
    token: int
    args: tuple[int, ...]
    ranges: tuple[tuple[int, int, int], ...] = ()


def _add(
    description: str,
    expected: OpalStatus,
    source: int,
    destination: int,
    size_bytes: int,
    *,
    state: State = State.IDLE,
    ranges: tuple[tuple[int, int, int], ...] = (),
) -> Row:
    args = (MpiplOperation.ADD_RANGE, source, destination, size_bytes)
    registers = bool(ranges) or expected is OK
    after = State.REGISTERED if registers and state not in (State.TRIGGERED, State.ACTIVE) else state
    return Row(state, f"add: {description}", expected, after, OpalToken.MPIPL_UPDATE, args, ranges)


def _update(description: str, state: State, expected: OpalStatus, after: State, operation: int, *args: int) -> Row:
    return Row(state, description, expected, after, OpalToken.MPIPL_UPDATE, (operation, *args))


def _tag(description: str, expected: OpalStatus, tag: int, value: int, state: State = State.IDLE) -> Row:
    return Row(state, f"set: {description}", expected, state, OpalToken.MPIPL_REGISTER_TAG, (tag, value))


def _query(description: str, expected: OpalStatus, tag: int, pointer: int, state: State = State.IDLE) -> Row:
    return Row(state, f"query: {description}", expected, state, OpalToken.MPIPL_QUERY_TAG, (tag, pointer))


def _reboot(description: str, state: State, expected: str, after: State, *args: int) -> Row:
    return Row(state, f"reboot: {description}", expected, after, OpalToken.CEC_REBOOT2, args)


_FULL_TABLE = tuple((0x1000 * number, FREE + 0x1000 * number, 0x1000) for number in range(63))

OTHERS = [
    Row(State.REGISTERED, "another function's token", PASSED_THROUGH, State.REGISTERED, 117, (0, 0, 0)),
    Row(State.ACTIVE, "another function's token", PASSED_THROUGH, State.ACTIVE, 0, ()),
]

ADD = [
    _add("what Linux asks for", OK, *BOOT_RANGE),
    _add("one more", OK, _ABOVE, FREE, 0x1000, state=State.REGISTERED),
    _add("with a dump active", OK, *BOOT_RANGE, state=State.ACTIVE),
    _add("after freeing", OK, *BOOT_RANGE, state=State.INVALIDATED),
    _add("while a dump is taken", OK, _ABOVE, FREE, 0x1000, state=State.TRIGGERED),
    _add("addresses of the linear mapping", OK, LINEAR_MAPPING | 0x1000, LINEAR_MAPPING | FREE, 0x1000),
    _add("nothing aligned", OK, 0x1001, FREE + 3, 0x7FF),
    _add("across two pieces of RAM that adjoin", OK, 0x3F_F000, FREE, 0x2000),
    _add("to the DIMM", OK, 0, DIMM.start, DIMM.size_bytes),
    _add("in place", OK, 0x1000, 0x1000, 0x1000),
    _add("OPAL's memory with the rest", OK, 0x28_0000, COPY, 0x10_0000),
    _add("no bytes", BAD, 0x1000, FREE, 0),
    _add("4 GiB, cut to nothing", OK, 0x1000, FREE, 1 << 32),
    _add("4 GiB and a page, cut to the page", OK, 0x1000, FREE, (1 << 32) + 0x1000),
    _add("4 GiB less a byte", BAD, 0x1000, FREE, (1 << 32) - 1),
    _add("2^64 - 1 bytes", BAD, 0x1000, FREE, (1 << 64) - 1),
    _add("source leaves RAM", BAD, LOWER.end - 0x1000, FREE, 0x1001),
    _add("source in the hole", BAD, LOWER.end, FREE, 0x1000),
    _add("source above RAM", BAD, DIMM.end, FREE, 0x1000),
    _add("source above RAM, cut to nothing", BAD, DIMM.end, FREE, 1 << 32),
    _add("source spans the hole", BAD, LOWER.end - 0x1000, FREE, 0x50_0000),
    _add("source is not a real address", BAD, 0xD000_0000_0000_1000, FREE, 0x1000),
    _add("source wraps at 2^64", BAD, (1 << 64) - 0x1000, FREE, 0x2000),
    _add("destination leaves RAM", BAD, 0, DIMM.end - 0x1000, 0x1001),
    _add("destination in the hole", BAD, 0, LOWER.end, 0x1000),
    _add("destination is not a real address", BAD, 0, 0x8000_0000_0000_0000 | FREE, 0x1000),
    _add("source and destination overlap", BAD, 0x1000, 0x1800, 0x1000),
    _add("the same again", BAD, *BOOT_RANGE, state=State.REGISTERED),
    _add("the same source", BAD, 0, FREE, 0x1000, state=State.REGISTERED),
    _add("the same source in the linear mapping", BAD, LINEAR_MAPPING, FREE, 0x1000, state=State.REGISTERED),
    _add("the same destination", BAD, _ABOVE, COPY, 0x1000, state=State.REGISTERED),
    _add("sources overlap", OK, 0x1000, FREE, 0x1000, state=State.REGISTERED),
    _add("destinations overlap", BAD, _ABOVE, COPY + BOOT_MEMORY.size_bytes - 1, 0x1000, state=State.REGISTERED),
    _add("a destination in another's source", BAD, _ABOVE, 0x1000, 0x1000, state=State.REGISTERED),
    _add("a source in another's destination", BAD, COPY + 0x1000, FREE, 0x1000, state=State.REGISTERED),
    _add("in place, inside another's source", OK, 0x1000, 0x1000, 0x1000, state=State.REGISTERED),
    _add("OPAL's own source", BAD, OPAL.start, FREE, 0x1000),
    _add("a destination in OPAL's memory", BAD, 0, OPAL.start + 0x1000, 0x1000),
    _add("OPAL's own destination", BAD, 0, OPAL_COPY, 0x1000),
    _add("a destination in the firmware's areas", BAD, 0, AREAS.start, 0x1000),
    _add("a source in the firmware's areas", BAD, AREAS.start + 0x1_0000, FREE, 0x1000),
    _add("a destination that ends at the firmware's areas", OK, 0, AREAS.start - 0x1000, 0x1000),
    _add("the 63rd", OK, 0x10_0000, COPY, 0x1000, ranges=_FULL_TABLE[:62]),
    _add("the 64th", FULL, 0x10_0000, COPY, 0x1000, ranges=_FULL_TABLE),
    _add("the 64th, there already", FULL, *_FULL_TABLE[0], ranges=_FULL_TABLE),
    _add("the 64th, of no bytes", BAD, 0x10_0000, COPY, 0, ranges=_FULL_TABLE),
]

OPERATIONS = [
    _update("remove", State.REGISTERED, OK, State.IDLE, MpiplOperation.REMOVE_RANGE, 0, COPY, 0),
    _update("remove: size is not looked at", State.REGISTERED, OK, State.IDLE, MpiplOperation.REMOVE_RANGE, 0, COPY, 7),
    _update("remove: another source", State.REGISTERED, BAD, State.REGISTERED, MpiplOperation.REMOVE_RANGE, 1, COPY),
    _update("remove: another destination", State.REGISTERED, BAD, State.REGISTERED, MpiplOperation.REMOVE_RANGE, 0, 1),
    _update("remove: nothing there", State.IDLE, BAD, State.IDLE, MpiplOperation.REMOVE_RANGE, 0, COPY),
    _update("remove: OPAL's own", State.IDLE, BAD, State.IDLE, MpiplOperation.REMOVE_RANGE, OPAL.start, OPAL_COPY),
    _update(
        "remove: no real address", State.REGISTERED, BAD, State.REGISTERED, MpiplOperation.REMOVE_RANGE, 1 << 63, COPY
    ),
    _update("remove all", State.IDLE, OK, State.IDLE, MpiplOperation.REMOVE_ALL),
    _update("remove all", State.REGISTERED, OK, State.IDLE, MpiplOperation.REMOVE_ALL, 1, 2, 3),
    _update("remove all", State.TRIGGERED, OK, State.TRIGGERED, MpiplOperation.REMOVE_ALL),
    _update("remove all", State.ACTIVE, OK, State.ACTIVE, MpiplOperation.REMOVE_ALL),
    _update("remove all", State.INVALIDATED, OK, State.INVALIDATED, MpiplOperation.REMOVE_ALL),
    _update("free", State.IDLE, OK, State.IDLE, MpiplOperation.FREE_PRESERVED_MEMORY),
    _update("free", State.REGISTERED, OK, State.REGISTERED, MpiplOperation.FREE_PRESERVED_MEMORY),
    _update("free", State.TRIGGERED, OK, State.TRIGGERED, MpiplOperation.FREE_PRESERVED_MEMORY),
    _update("free", State.ACTIVE, OK, State.INVALIDATED, MpiplOperation.FREE_PRESERVED_MEMORY, 1, 2, 3),
    _update("free", State.INVALIDATED, OK, State.INVALIDATED, MpiplOperation.FREE_PRESERVED_MEMORY),
    _update("operation 4", State.REGISTERED, BAD, State.REGISTERED, 4, 0, COPY, 1),
    _update("operation 2^32 - 1", State.ACTIVE, BAD, State.ACTIVE, 0xFFFF_FFFF),
    _update("operation 2^32 + 3, of which 3 counts", State.ACTIVE, OK, State.INVALIDATED, (1 << 32) + 3),
]

TAGS = [
    _tag("KERNEL", OK, MpiplTag.KERNEL, KERNEL_METADATA),
    _tag("KERNEL to 0", OK, MpiplTag.KERNEL, 0, State.REGISTERED),
    _tag("KERNEL to anything", OK, MpiplTag.KERNEL, (1 << 64) - 1),
    _tag("KERNEL with a dump active", OK, MpiplTag.KERNEL, KERNEL_METADATA, State.ACTIVE),
    _tag("BOOT_MEM", OK, MpiplTag.BOOT_MEM, BOOT_MEMORY.end),
    _tag("BOOT_MEM to 1", OK, MpiplTag.BOOT_MEM, 1),
    _tag("BOOT_MEM to the top of RAM", OK, MpiplTag.BOOT_MEM, DIMM.end),
    _tag("BOOT_MEM above the top of RAM", BAD, MpiplTag.BOOT_MEM, DIMM.end + 1),
    _tag("BOOT_MEM to 0", BAD, MpiplTag.BOOT_MEM, 0),
    _tag("CPU", BAD, MpiplTag.CPU, 0x1000),
    _tag("OPAL", BAD, MpiplTag.OPAL, 0x1000),
    _tag("tag 4", BAD, 4, 0x1000),
    _tag("tag 2^32 + 2, of which 2 counts", OK, (1 << 32) + 2, 0x1000),
    *(
        _query(f"{tag.name} in state {state.value}", BAD if state is State.INVALIDATED else OK, tag, TAG_VALUE, state)
        for state in State
        for tag in MpiplTag
    ),
    _query("tag 4", BAD, 4, TAG_VALUE),
    _query("tag 2^32 - 1", BAD, 0xFFFF_FFFF, TAG_VALUE),
    _query("pointer of the linear mapping", OK, MpiplTag.CPU, LINEAR_MAPPING | TAG_VALUE),
    _query("pointer 0", OK, MpiplTag.CPU, 0),
    _query("pointer not aligned", OK, MpiplTag.CPU, TAG_VALUE + 3),
    _query("pointer to RAM's last 8 bytes", OK, MpiplTag.CPU, DIMM.end - 8),
    _query("pointer reaches out of RAM", BAD, MpiplTag.CPU, DIMM.end - 7),
    _query("pointer to the hole", BAD, MpiplTag.CPU, LOWER.end),
    _query("pointer is not a real address", BAD, MpiplTag.CPU, 0xF000_0000_0000_0000),
]

REBOOT = [
    *(
        _reboot(f"type {kind.name}", state, PASSED_THROUGH, state, kind, 0)
        for kind in RebootType
        if kind is not RebootType.MPIPL
        for state in (State.IDLE, State.REGISTERED)
    ),
    _reboot("type 5", State.REGISTERED, PASSED_THROUGH, State.REGISTERED, 5, 0),
    _reboot("no arguments", State.REGISTERED, PASSED_THROUGH, State.REGISTERED),
    _reboot("type MPIPL", State.IDLE, TRIGGERS_A_DUMP, State.TRIGGERED, 3, 0),
    _reboot("type MPIPL", State.REGISTERED, TRIGGERS_A_DUMP, State.TRIGGERED, 3, 0),
    _reboot("type MPIPL", State.TRIGGERED, TRIGGERS_A_DUMP, State.TRIGGERED, 3, 0),
    _reboot("type MPIPL", State.ACTIVE, TRIGGERS_A_DUMP, State.ACTIVE, 3, 0),
    _reboot("type MPIPL", State.INVALIDATED, TRIGGERS_A_DUMP, State.TRIGGERED, 3, 0),
    _reboot("type MPIPL without a text", State.REGISTERED, TRIGGERS_A_DUMP, State.TRIGGERED, 3),
    _reboot("type 2^32 + 3, of which 3 counts", State.REGISTERED, TRIGGERS_A_DUMP, State.TRIGGERED, (1 << 32) + 3, 0),
]

ROWS = [*OTHERS, *ADD, *OPERATIONS, *TAGS, *REBOOT]
