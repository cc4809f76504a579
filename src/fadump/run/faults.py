"""All faults of a run, by name: ``--fault NAME``.

A name is of one of these kinds:

    CALL=STATUS, PART=FAULT  of the firmware, on either machine: :mod:`fadump.firmware.faults`
    power-cut=N, ...         of a cycle, whatever the machine: :class:`fadump.cycle.CycleFaults`
    no-put-back, ...         of the QEMU machine itself: :class:`fadump.machine.qemu.config.Fault`
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from fadump.abi.platform import Platform
from fadump.cycle import CycleFaults, CycleResult
from fadump.firmware.contract import Firmware
from fadump.firmware.faults import FaultNames, FaultyFirmware, FirmwareFault, UnknownFaultError
from fadump.firmware.powernv.faults import POWERNV_FAULTS
from fadump.firmware.pseries.faults import PSERIES_FAULTS
from fadump.machine.qemu.config import FAULT_TEXTS, Fault
from fadump.printable import counted

FAULT_NAMES = {Platform.PSERIES: PSERIES_FAULTS, Platform.POWERNV: POWERNV_FAULTS}
CYCLE_FAULT_TEXTS = {
    "power-cut=N": "power is cut at the machine's Nth event (the first is 1)",
    "second-crash": "the capture kernel crashes before the dump is saved",
    "release-twice": "the dump is released a second time",
}
_OF_DUMPS = ("second-crash", "release-twice")
"""What happens to a firmware-assisted dump only."""
_POWER_CUT = re.compile(r"power-cut=([1-9]\d{0,5})")


@dataclass(frozen=True, slots=True)
class Faults:
    """All faults of one run on this platform. ``names`` are as they were typed."""

    platform: Platform = Platform.PSERIES
    names: tuple[str, ...] = ()
    machine: frozenset[Fault] = frozenset()
    firmware: tuple[FirmwareFault, ...] = ()
    cycle: CycleFaults = field(default_factory=CycleFaults)

    def __reduce__(self) -> tuple[object, ...]:
        """Pickled as names: a fault of the firmware is a function."""
        return parse_faults, (self.names, self.platform)


def parse_faults(names: Iterable[str], platform: Platform) -> Faults:
    """The faults of these names.

    :raises UnknownFaultError: a name is no fault of this platform.
    """
    found = Faults(platform, tuple(names))
    for name in found.names:
        found = _with_fault(found, name)
    return found


def _with_fault(found: Faults, name: str) -> Faults:
    if name in list(Fault):
        return replace(found, machine=found.machine | {Fault(name)})
    if name == "second-crash":
        return replace(found, cycle=replace(found.cycle, second_crash=True))
    if name == "release-twice":
        return replace(found, cycle=replace(found.cycle, release_twice=True))
    if match := _POWER_CUT.fullmatch(name):
        return replace(found, cycle=replace(found.cycle, power_cut_at=int(match[1])))
    if name.partition("=")[0] == "power-cut":
        raise UnknownFaultError(name, "write power-cut=N, with N from 1 to 999999")
    return replace(found, firmware=(*found.firmware, _firmware_fault(name, found.platform)))


def _firmware_fault(name: str, platform: Platform) -> FirmwareFault:
    try:
        return FAULT_NAMES[platform].parse(name)
    except UnknownFaultError:
        others = [other for other in Platform if other is not platform and _is_fault(name, FAULT_NAMES[other])]
        if not others:
            raise
    raise UnknownFaultError(name, f"it is one of --platform {others[0]}, not of {platform}")


def _is_fault(name: str, names: FaultNames) -> bool:
    try:
        names.parse(name)
    except UnknownFaultError:
        return False
    return True


def system_fault_refusals(faults: Faults, platform: Platform) -> Iterator[str]:
    """What can't be of a machine that isn't our guest's: it has the firmware's faults only."""
    if faults.names and faults.platform is not platform:
        yield f"--fault {faults.names[0]} is one of --platform {faults.platform}, not of {platform}"
    firmware = {fault.name for fault in faults.firmware}
    for name in faults.names:
        if name not in firmware:
            yield f"--fault {name} goes with fadump run: a system that isn't our guest has its firmware's faults only"


def platforms_of(name: str) -> Sequence[Platform]:
    """The platforms that have a fault of this name; none if it is no fault."""
    return [platform for platform in Platform if _is_one(name, platform)]


def _is_one(name: str, platform: Platform) -> bool:
    try:
        parse_faults([name], platform)
    except UnknownFaultError:
        return False
    return True


def every_fault(platform: Platform) -> Sequence[str]:
    """Each fault that a platform has by name: each call with each status, what a dump can have, and accidents."""
    names = FAULT_NAMES[platform]
    calls = [f"{call}={status}" for call in names.calls for status in names.statuses]
    return [*calls, *names.dump_faults, *_OF_DUMPS]


def with_faults(firmware: Firmware, faults: Faults) -> Firmware:
    """``firmware`` with its faults; itself if it has none."""
    return FaultyFirmware(firmware, FAULT_NAMES[faults.platform], faults.firmware) if faults.firmware else firmware


@dataclass(frozen=True, slots=True)
class NeverStruck:
    """A fault that didn't happen in a whole run; ``why`` is a clause of a sentence."""

    name: str
    why: str

    def __str__(self) -> str:
        return f"--fault {self.name} never struck: {self.why}"


def never_struck(faults: Faults, firmware: Firmware, cycles: Sequence[CycleResult]) -> Sequence[NeverStruck]:
    """The faults that didn't happen in a finished run, whose cycles and ``firmware`` these are."""
    found = {fault.name: fault.why for fault in never_struck_by(firmware)}
    cut_at, events = faults.cycle.power_cut_at, max(cycle.events for cycle in cycles)
    if cut_at > events:
        found = {**found, f"power-cut={cut_at}": f"a cycle had no more than {counted(events, 'event')}"}
    if any(cycle.kdump is not None for cycle in cycles):
        found = {**found, **{name: "Linux has fallen back to kdump" for name in _OF_DUMPS if name in faults.names}}
    return [NeverStruck(name, why) for name, why in found.items()]


def never_struck_by(firmware: Firmware) -> Sequence[NeverStruck]:
    """The firmware's own faults that haven't happened."""
    found = firmware.never_struck() if isinstance(firmware, FaultyFirmware) else {}
    return [NeverStruck(name, why) for name, why in found.items()]


def faults_by_kind() -> Mapping[str, Mapping[str, str]]:
    """The names of all faults with what they do, under the keys of ``--fault list --json``."""
    kinds = {platform.value: _firmware_faults(names) for platform, names in FAULT_NAMES.items()}
    return {**kinds, "accidents": CYCLE_FAULT_TEXTS, "qemu": {fault.value: text for fault, text in FAULT_TEXTS.items()}}


def fault_answers(platform: Platform) -> Mapping[str, Sequence[str]]:
    """What is before the = in the names of a platform's faults, with the words that may come after it."""
    names = FAULT_NAMES[platform]
    found = {call: [*names.statuses] for call in map(str, names.calls)}
    for name in (*names.dump_faults, *Fault, *CYCLE_FAULT_TEXTS):
        part, equals, answer = name.partition("=")
        found.setdefault(part, []).extend([answer] if equals else [])
    return found


def _firmware_faults(names: FaultNames) -> Mapping[str, str]:
    calls = {f"{call}=STATUS": text for call, text in names.calls.items()}
    return {
        **calls,
        "STATUS": ", ".join(names.statuses),
        **{fault.name: fault.text for fault in names.dump_faults.values()},
    }


def fault_list() -> Iterator[str]:
    """What ``--fault list`` prints: a line for each fault, under a line for each kind."""
    yield "CALL=STATUS makes the firmware answer a call with STATUS, a number or one of the words below, every time."
    yield "With *N only the next N calls get it, and a list goes on with its next entry: register=busy*2,-3*1 answers"
    yield 'busy twice, then -3 once. "served" stands for a correct answer: register=served*1,busy spares the first.'
    yield "The other faults of pseries and powernv change what the firmware leaves for the capture kernel."
    titles = {"accidents": "accidents, on either machine and platform", "qemu": "only with --machine qemu"}
    for kind, faults in faults_by_kind().items():
        yield titles.get(kind, kind)
        yield from (_line(name, text) for name, text in faults.items())


def _line(name: str, text: str) -> str:
    return f"  {name:34} {text}"
