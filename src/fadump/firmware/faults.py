"""A firmware that does wrong on purpose, to see what a kernel and its user space make of it.

Every firmware step of "follow one crash" in docs/architecture.md can be bent. A fault has a name of two words:

    CALL=STATUS    register=-1, register=busy*2,-3*1: calls are answered so and do nothing else. STATUS is a number or
                   the platform's word for it; with *N the next N calls get it, and without it all that follow.
    PART=FLAW      boot-memory=short, registers=no-magic: what the firmware leaves the capture kernel is not as it
                   should be. A flaw is in the first dump after power-on, and in what presents that dump again.

Which calls, words and flaws there are is the platform's: :mod:`.pseries.faults`, :mod:`.powernv.faults`.
:class:`FaultyFirmware` stands around a firmware that does nothing wrong.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from fadump.abi.registers import CpuRegisters
from fadump.errors import FadumpError
from fadump.firmware.core import (
    Answer,
    CallName,
    Firmware,
    FirmwareCall,
    Outcome,
    PreservedDump,
    State,
    Trigger,
)
from fadump.memory.devicetree import DeviceTree
from fadump.memory.guest import GuestMemory

FOR_EVER = -1
_ANSWER = re.compile(r"(-?\d{1,9}|[a-z][a-z0-9-]*)(?:\*([1-9]\d{0,8}))?")


class UnknownFaultError(ValueError):
    """A name that is none of the platform's faults; the sentence says what could stand there."""


@dataclass(frozen=True, slots=True)
class StatusFault:
    """``answers`` are (status, how often), one after the other; the last may be :data:`FOR_EVER`."""

    name: str
    call: CallName
    answers: tuple[tuple[int, int], ...]


@dataclass(slots=True)
class Spoilt:
    """What a flaw may change: memory, and what will be presented of the dump.

    ``structure`` is the platform's, byte for byte, None if the capture kernel is not to be told of the dump. What the
    machine has to keep is not changed by a flaw.
    """

    memory: GuestMemory
    dump: PreservedDump
    structure: bytearray | None


@dataclass(frozen=True, slots=True)
class Flaw:
    """Something wrong with a dump: ``spoil`` does it. ``text`` is for people."""

    name: str
    text: str
    spoil: Callable[[Spoilt], None]


FirmwareFault = StatusFault | Flaw


@dataclass(frozen=True, slots=True)
class FaultNames:
    """What can go wrong on a platform.

    ``calls`` has a line of text for each call that can be answered falsely, ``statuses`` the words for statuses.
    ``present`` changes a device tree at a handover with a dump; ``describe`` says a structure as firmware.log shows it.
    """

    calls: Mapping[CallName, str]
    statuses: Mapping[str, int]
    flaws: Mapping[str, Flaw]
    present: Callable[[DeviceTree, Spoilt], None]
    describe: Callable[[PreservedDump, bytes], PreservedDump]

    def parse(self, name: str) -> FirmwareFault:
        """The fault of that name.

        :raises UnknownFaultError: there is none.
        """
        if name in self.flaws:
            return self.flaws[name]
        call, _equals, answers = name.partition("=")
        if call not in self.calls:
            parts = sorted({*self.calls, *(flaw.partition("=")[0] for flaw in self.flaws)})
            raise UnknownFaultError(f"{name!r} is no fault: one of the firmware begins with {', '.join(parts)}")
        parsed = tuple(self._answer(name, answer) for answer in answers.split(","))
        if any(times == FOR_EVER for _status, times in parsed[:-1]):
            raise UnknownFaultError(
                f"{name!r} is no fault: all but the last status need a *N, how often they are given"
            )
        return StatusFault(name, CallName(call), parsed)

    def _answer(self, name: str, answer: str) -> tuple[int, int]:
        match = _ANSWER.fullmatch(answer)
        word = "" if match is None else match[1]
        if match is None or (word not in self.statuses and not word.lstrip("-").isdecimal()):
            words = ", ".join(self.statuses)
            raise UnknownFaultError(f"{name!r} is no fault: {answer!r} is no status; write a number, {words}")
        status = self.statuses[word] if word in self.statuses else int(word)
        return status, int(match[2]) if match[2] else FOR_EVER


class FaultyFirmware:
    """``firmware`` with ``faults``. See :class:`.core.Firmware`."""

    def __init__(self, firmware: Firmware, names: FaultNames, faults: Iterable[FirmwareFault] = ()) -> None:
        self._firmware = firmware
        self._names = names
        self._answers: dict[CallName, list[tuple[int, int]]] = {}
        self._flaws: list[Flaw] = []
        self._spoilt: Spoilt | None = None
        self.add(*faults)

    def add(self, *faults: FirmwareFault) -> None:
        """Do these wrong too, from now on; answers come after those that the same call has still to get."""
        for fault in faults:
            match fault:
                case StatusFault():
                    self._answers.setdefault(fault.call, []).extend(fault.answers)
                case Flaw():
                    self._flaws.append(fault)

    def clear(self) -> None:
        """Do no wrong any more; a dump that is spoilt already stays so."""
        self._answers.clear()
        self._flaws.clear()

    @property
    def state(self) -> State:
        """Where the firmware itself stands, whatever it has answered."""
        return self._firmware.state

    @property
    def tokens(self) -> frozenset[int]:
        """The calls to stop the guest for."""
        return self._firmware.tokens

    @property
    def preserved(self) -> PreservedDump | None:
        """The dump that is held, as it is presented."""
        dump = self._firmware.preserved
        return None if dump is None else self._presented(dump)

    def name_of(self, call: FirmwareCall) -> CallName | None:
        """What a call asks for."""
        return self._firmware.name_of(call)

    def call(self, call: FirmwareCall, memory: GuestMemory) -> Outcome:
        """Take a call, or only answer it."""
        status = self._next_answer(self.name_of(call))
        if status is not None:
            return Answer(status, reason="this status was asked for")
        return self._firmware.call(call, memory)

    def preserve(self, trigger: Trigger, memory: GuestMemory, cpus: Sequence[CpuRegisters]) -> PreservedDump:
        """Take the dump, and spoil it; one that is given again stays as it is."""
        held = self._firmware.preserved
        dump = self._firmware.preserve(trigger, memory, cpus)
        if dump is not held:
            self._spoilt = None
        if dump is not held and self._flaws:
            self._spoilt = Spoilt(memory, dump, bytearray(dump.structure))
            for flaw in self._flaws:
                with suppress(FadumpError):  # what a kernel has not registered can't be spoilt
                    flaw.spoil(self._spoilt)
        return self._presented(dump)

    def describe(self, tree: DeviceTree) -> None:
        """Tell the kernel, of a spoilt dump what there is."""
        self._firmware.describe(tree)
        if self._spoilt is not None and self._firmware.preserved is not None:
            self._names.present(tree, self._spoilt)

    def on_reset(self) -> None:
        """The guest was reset other than by a trigger."""
        self._firmware.on_reset()

    def _presented(self, dump: PreservedDump) -> PreservedDump:
        if self._spoilt is None or self._spoilt.structure is None:
            return dump
        structure = bytes(self._spoilt.structure)
        return replace(self._names.describe(dump, structure), structure=structure)

    def _next_answer(self, name: CallName | None) -> int | None:
        answers = self._answers.get(name) if name is not None else None
        if not answers:
            return None
        status, times = answers[0]
        if times == 1:
            answers.pop(0)
        elif times != FOR_EVER:
            answers[0] = (status, times - 1)
        return status
