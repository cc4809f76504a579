"""A firmware that fails on purpose, to test how a kernel and its user space handle that.

Every firmware step of "follow one crash" in docs/architecture.md can go wrong. A fault's name is of one of two forms:

    CALL=STATUS    register=-1, register=busy*2,-3*1: calls get this answer and have no effect. STATUS is a number or
                   the platform's word for it; with *N the next N calls get it, without it all that follow. served*1
                   serves a call normally, so register=served*1,busy affects calls from the second on.
    PART=FAULT     boot-memory=short, registers=no-magic: what the firmware leaves for the capture kernel is wrong in
                   the first dump after power-on, and whenever that dump is presented again.

The names of a platform's faults are in :mod:`.pseries.faults` and :mod:`.powernv.faults`. :class:`FaultyFirmware` wraps
a firmware that works.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from fadump.abi.registers import CpuRegisters
from fadump.errors import FadumpError, UsageError
from fadump.firmware.contract import Answer, CallName, Firmware, FirmwareCall, Outcome, PreservedDump, Trigger
from fadump.firmware.wrapped import WrappedFirmware
from fadump.memory.devicetree import DeviceTree
from fadump.memory.guest import GuestMemory
from fadump.memory.ranges import Range
from fadump.printable import counted

FOR_EVER = -1
_ANSWER = re.compile(r"(-?\d{1,9}|[a-z][a-z0-9-]*)(?:\*([1-9]\d{0,8}))?")


class UnknownFaultError(UsageError):
    """A ``name`` is none of the platform's faults; ``why`` says which ones there are."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"{name!r} is not a fault: {why}")
        self.name = name
        self.why = why


@dataclass(frozen=True, slots=True)
class StatusFault:
    """``answers`` are (status, number of calls), in order; the last may be :data:`FOR_EVER`.

    If a status is None, calls are served normally.
    """

    name: str
    call: CallName
    answers: tuple[tuple[int | None, int], ...]


@dataclass(slots=True)
class FaultyDump:
    """What a :class:`DumpFault` may change: memory, and what the capture kernel is told about the dump.

    ``structure`` is the platform's, byte for byte, None to hide the dump from the capture kernel. What the machine has
    to keep does not change.
    """

    memory: GuestMemory
    preserved: PreservedDump
    structure: bytearray | None
    hash_tables: tuple[Range, ...]
    """Where the machine is to write hash page tables."""
    memory_changes: int = 0

    @property
    def contents(self) -> tuple[object, ...]:
        """Memory writes, structure and where tables go, which differ after a change."""
        return self.memory_changes, None if self.structure is None else bytes(self.structure), self.hash_tables

    def write(self, address: int, data: bytes | bytearray) -> None:
        """Change memory."""
        if self.memory.read(address, len(data)) != data:
            self.memory_changes += 1
            self.memory.write(address, data)

    def discard(self, extent: Range) -> None:
        """Set memory to zeros."""
        self.memory_changes += bool(self.memory.populated(extent))
        self.memory.discard(extent)


@dataclass(frozen=True, slots=True)
class DumpFault:
    """A change to what the firmware leaves for the capture kernel; ``apply`` makes it, ``text`` describes it."""

    name: str
    text: str
    apply: Callable[[FaultyDump], None]


FirmwareFault = StatusFault | DumpFault
SERVED = "served"
"""In place of a status: the call is served normally."""


@dataclass(frozen=True, slots=True)
class FaultNames:
    """The names of all faults of a platform's firmware.

    ``calls`` has a description of each call that can get a false answer, ``statuses`` the words for statuses.
    ``present`` edits the device tree of a handover with a dump; ``describe`` updates a dump from a changed structure.
    """

    calls: Mapping[CallName, str]
    statuses: Mapping[str, int]
    dump_faults: Mapping[str, DumpFault]
    present: Callable[[DeviceTree, FaultyDump], None]
    describe: Callable[[PreservedDump, bytes], PreservedDump]

    def parse(self, name: str) -> FirmwareFault:
        """The fault of that name.

        :raises UnknownFaultError: there is none.
        """
        if name in self.dump_faults:
            return self.dump_faults[name]
        call, _equals, answers = name.partition("=")
        if call not in self.calls:
            parts = sorted({*self.calls, *(fault.partition("=")[0] for fault in self.dump_faults)})
            raise UnknownFaultError(name, f"one of the firmware begins with {', '.join(parts)}")
        parsed = tuple(self._answer(name, answer) for answer in answers.split(","))
        if any(times == FOR_EVER for _status, times in parsed[:-1]):
            raise UnknownFaultError(name, "all but the last status need a *N, how often they are given")
        if parsed[-1][0] is None:
            raise UnknownFaultError(name, f"after {SERVED}*N comes the status of the next calls")
        return StatusFault(name, CallName(call), parsed)

    def _answer(self, name: str, answer: str) -> tuple[int | None, int]:
        match = _ANSWER.fullmatch(answer)
        word = "" if match is None else match[1]
        if match is not None and word == SERVED:
            return None, int(match[2]) if match[2] else FOR_EVER
        if match is None or (word not in self.statuses and not word.lstrip("-").isdecimal()):
            words = ", ".join((*self.statuses, f"{SERVED}*N"))
            raise UnknownFaultError(name, f"{answer!r} is not a status; write a number, {words}")
        status = self.statuses[word] if word in self.statuses else int(word)
        return status, int(match[2]) if match[2] else FOR_EVER


class FaultyFirmware(WrappedFirmware):
    """A firmware that behaves like ``firmware`` except for ``faults``."""

    def __init__(self, firmware: Firmware, names: FaultNames, faults: Iterable[FirmwareFault] = ()) -> None:
        super().__init__(firmware)
        self._names = names
        self._answers: dict[CallName, list[tuple[StatusFault, int | None, int]]] = {}
        self._dump_faults: list[DumpFault] = []
        self._faulty: FaultyDump | None = None
        self._unstruck: dict[str, FirmwareFault] = {}
        self._calls: Counter[CallName] = Counter()
        self._dumps = 0
        self.add(*faults)

    def add(self, *faults: FirmwareFault) -> None:
        """Add faults; their answers come after those that are pending for the same call."""
        for fault in faults:
            self._unstruck[fault.name] = fault
            match fault:
                case StatusFault():
                    answers = self._answers.setdefault(fault.call, [])
                    answers.extend((fault, status, times) for status, times in fault.answers)
                case DumpFault():
                    self._dump_faults.append(fault)

    def clear(self) -> None:
        """Remove all faults; a dump that is faulty already stays so."""
        self._answers.clear()
        self._dump_faults.clear()
        self._unstruck.clear()

    @property
    def preserved(self) -> PreservedDump | None:
        """The current dump, as it is presented."""
        dump = super().preserved
        return None if dump is None else self._presented(dump)

    def call(self, call: FirmwareCall, memory: GuestMemory) -> Outcome:
        """Handle a call, or only answer it."""
        name = self.name_of(call)
        status = None if name is None else self._next_answer(name)
        if status is not None:
            return Answer(status, reason="this status was asked for")
        return super().call(call, memory)

    def preserve(self, trigger: Trigger, memory: GuestMemory, cpus: Sequence[CpuRegisters]) -> PreservedDump:
        """Take the dump and apply the faults to it; a dump that is presented again stays as it is."""
        held = super().preserved
        dump = super().preserve(trigger, memory, cpus)
        if dump is not held:
            self._dumps += 1
            self._faulty = self._with_faults(memory, dump) if self._dump_faults else None
        return self._presented(dump)

    def _with_faults(self, memory: GuestMemory, dump: PreservedDump) -> FaultyDump:
        faulty = FaultyDump(memory, dump, bytearray(dump.structure), dump.hash_tables)
        for fault in self._dump_faults:
            before = faulty.contents
            with suppress(FadumpError):  # there is nothing to change if the kernel has not registered the part
                fault.apply(faulty)
            if faulty.contents != before:
                self._unstruck.pop(fault.name, None)
        return faulty

    def describe(self, tree: DeviceTree) -> None:
        """Write the firmware's properties; a faulty dump is presented as the faults left it."""
        super().describe(tree)
        if self._faulty is not None and super().preserved is not None:
            self._names.present(tree, self._faulty)

    def _presented(self, dump: PreservedDump) -> PreservedDump:
        if self._faulty is None:
            return dump
        dump = replace(dump, hash_tables=self._faulty.hash_tables)
        if self._faulty.structure is None:
            return dump
        structure = bytes(self._faulty.structure)
        return replace(self._names.describe(dump, structure), structure=structure)

    def never_struck(self) -> Mapping[str, str]:
        """The faults that have had no effect so far, by name, each with a clause that says why."""
        return {name: self._why(fault) for name, fault in self._unstruck.items()}

    def _why(self, fault: FirmwareFault) -> str:
        if isinstance(fault, DumpFault):
            return f"of {counted(self._dumps, 'dump')} none had what it changes"
        if self._calls[fault.call]:
            return f"its turn would have come after {counted(self._calls[fault.call], 'call')} of {fault.call}"
        made = ", ".join(f"{name} {counted(times, 'time')}" for name, times in self._calls.items())
        return f"the kernel never made this call; it made {made or 'none'}"

    def _next_answer(self, name: CallName) -> int | None:
        self._calls[name] += 1
        answers = self._answers.get(name)
        if not answers:
            return None
        fault, status, times = answers[0]
        if status is not None:
            self._unstruck.pop(fault.name, None)
        if times == 1:
            answers.pop(0)
        elif times != FOR_EVER:
            answers[0] = (fault, status, times - 1)
        return status
