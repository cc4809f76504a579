"""The order of a cycle, and what it says when a guest or machine leaves it. Real kernels: tests/linux."""

import itertools

import pytest

from fadump.cycle import CrashBy, CycleRequest, Milestone, run_cycle
from fadump.errors import MachineError
from fadump.firmware.contract import (
    Answer,
    CallName,
    FirmwareCall,
    PassThrough,
    PreservedDump,
    State,
    Trigger,
    TriggerKind,
    Watched,
)
from fadump.machine.contract import (
    Crash,
    GuestReport,
    GuestReset,
    Handover,
    Register,
    Release,
    Reregister,
    Save,
    Stopped,
)
from fadump.memory.devicetree import DeviceTree, Node
from fadump.memory.ranges import Range, RangeSet

REGISTER, OS_TERM, INVALIDATE, UNREGISTER = 1, 2, 3, 4
KEEP = RangeSet([Range(0x1000, 0x9000)])
DUMP = PreservedDump((), b"", RangeSet([Range(0, 0x1000)]), KEEP)


def call(token):
    return FirmwareCall(0, token, (), 1, 0x100)


def report(reported, **fields):
    return GuestReport(reported, {key: str(value) for key, value in fields.items()})


def handover(boot):
    return Handover(boot, DeviceTree(Node("", {}, []), [], 0))


def hello(mode="first", **fields):
    return report("hello", **{"mode": mode, "release": "6.12", "cpus": 2, "fadump_enabled": 1} | fields)


FIRST_BOOT = [handover(1), call(REGISTER), hello()]
REGISTERED = [report("registered", mem_reserved=0x8000)]
CRASH = [report("crashing", cpu=0), call(OS_TERM), handover(2), hello("capture")]
SAVE = [report("saving", bytes=500), report("progress", bytes=250), report("saved", bytes=500)]
RELEASE = [call(INVALIDATE), report("released", bytes=4096)]
PRODUCTION = [call(REGISTER), report("registered", mem_reserved=0x8000)]
WHOLE = FIRST_BOOT + REGISTERED + CRASH + SAVE + RELEASE + PRODUCTION


class ScriptedMachine:
    """Plays events from a list and notes what is done to it."""

    memory = None
    segments = ()

    def __init__(self, events):
        self.events = iter([*events, Stopped("end of script", ["last line"])])
        self.done = []

    def next_event(self, seconds):
        return next(self.events)

    def enter(self, handover, tokens):
        self.done.append(("enter", handover.boot))

    def answer(self, call, outcome):
        self.done.append("passed through" if outcome == PassThrough() else ("answer", outcome.status))

    def cpus(self):
        return []

    def reset(self, keep):
        self.done.append(("reset", keep))

    def forget_kept(self):
        self.done.append("forget_kept")

    def ask(self, request):
        self.done.append(request)

    def inject_nmi(self):
        self.done.append("inject_nmi")

    def halt(self):
        self.done.append("halt")


class ScriptedFirmware:
    """As much of a firmware as the cycle's order needs."""

    tokens = frozenset({REGISTER, OS_TERM, INVALIDATE, UNREGISTER})

    def __init__(self):
        self.state = State.IDLE
        self.preserved = None

    def name_of(self, call):
        return {
            REGISTER: CallName.REGISTER,
            OS_TERM: CallName.TERMINATE,
            INVALIDATE: CallName.INVALIDATE,
            UNREGISTER: CallName.UNREGISTER,
        }[call.token]

    def call(self, call, memory):
        match call.token:
            case 1:
                self.state = State.REGISTERED
            case 2:
                return Trigger(TriggerKind.OS_TERM, "crash", 0)
            case 4:
                self.state = State.IDLE
            case _:
                self.state = State.INVALIDATED
        return Answer(0)

    def preserve(self, trigger, memory, cpus):
        self.state = State.ACTIVE
        return DUMP

    def describe(self, tree):
        pass

    def on_reset(self):
        self.state = State.IDLE


class Witness:
    def __init__(self):
        self.calls = []
        self.triggers = []

    def milestone(self, milestone, at_seconds): ...
    def preserved(self, dump, at_seconds): ...
    def report(self, report): ...

    def firmware_call(self, call, outcome, at_seconds):
        self.calls.append(call.token)

    def terminated(self, trigger, at_seconds):
        self.triggers.append(trigger)


def run(events, witness=None, **request):
    machine = ScriptedMachine(events)
    seconds = itertools.count().__next__
    result = run_cycle(machine, ScriptedFirmware(), CycleRequest(**request), witness or Witness(), clock=seconds)
    return machine, result


def test_a_whole_cycle():
    machine, result = run(WHOLE, crash_cpu=1)
    assert [milestone for milestone, _at in result.timeline] == list(Milestone)
    assert [at for _milestone, at in result.timeline] == sorted(at for _milestone, at in result.timeline)
    assert machine.done == [
        ("enter", 1), ("answer", 0), Register(), Crash(1), ("reset", KEEP), ("enter", 2),
        Save(), Release(), "forget_kept", ("answer", 0), Reregister(), ("answer", 0),
    ]  # fmt: skip
    assert (result.kernel_release, result.cpus, result.reboots) == ("6.12", 2, 1)
    assert (result.vmcore_bytes, result.memory_released) == (500, 4096)
    assert (result.boot_memory_bytes, result.reserved_bytes) == (0x1000, 0x8000)


@pytest.mark.parametrize(
    ("events", "sentence"),
    [
        ([handover(1), hello(fadump_enabled="absent")], "Linux 6.12 has no FADump: .* CONFIG_FA_DUMP=y"),
        (
            [handover(1), hello(fadump_enabled=0), report("failed", step="register", reason="no chunk")],
            "FADump is not enabled .* could not register: no chunk",
        ),
        ([*FIRST_BOOT, report("failed", step="register", reason="EIO")], "the guest could not register: EIO"),
        ([*FIRST_BOOT, *REGISTERED, report("crashing", cpu=0), GuestReset(), handover(2), hello()], "without a dump"),
        (
            [*FIRST_BOOT, *REGISTERED, report("crashing", cpu=0), call(UNREGISTER), GuestReset(), handover(2), hello()],
            "crashed without a registration, so there is no dump; Linux has rebooted itself",
        ),
        ([*FIRST_BOOT, hello()], "booted again instead of reporting 'registered'"),
        (FIRST_BOOT, "while waiting for the guest to report 'registered': end of script\n  | last line"),
        ([*FIRST_BOOT, report("registered", mem_reserved="lots")], "mem_reserved='lots', not a number"),
        ([*FIRST_BOOT, report("registered")], "reported registered without mem_reserved"),
        (FIRST_BOOT + REGISTERED + CRASH + [*SAVE[:1], report("saved", bytes=499)], "saved 499 bytes of .* 500"),
        (WHOLE[:-2] + PRODUCTION[1:], "the guest says registered, the firmware is invalidated"),
    ],
)
def test_a_cycle_that_goes_wrong_says_where(events, sentence):
    with pytest.raises(MachineError, match=sentence):
        run(events)


def test_a_crash_on_a_cpu_that_linux_does_not_have_is_refused_before_it():
    with pytest.raises(MachineError, match="no CPU 2 to crash on: Linux has 2"):
        run(FIRST_BOOT, crash_cpu=2)


def test_resets_count_from_the_crash_on():
    assert run([handover(1), GuestReset(), *WHOLE])[1].reboots == 1
    capture_reboots = [*FIRST_BOOT, *REGISTERED, *CRASH[:-1], GuestReset(), *CRASH[-2:], *SAVE, *RELEASE, *PRODUCTION]
    assert run(capture_reboots)[1].reboots == 2


def test_an_nmi_comes_from_the_machine_and_the_call_from_the_kernel():
    machine, result = run(FIRST_BOOT + REGISTERED + CRASH[1:] + SAVE + RELEASE + PRODUCTION, crash_by=CrashBy.NMI)
    assert machine.done[3:5] == ["inject_nmi", ("reset", KEEP)]
    assert [milestone for milestone, _at in result.timeline] == list(Milestone)


def test_the_platform_ends_a_guest_that_makes_no_call():
    witness = Witness()
    events = FIRST_BOOT + REGISTERED + CRASH[2:] + SAVE + RELEASE + PRODUCTION
    machine, result = run(events, witness, crash_by=CrashBy.PLATFORM)
    assert machine.done[3:5] == ["halt", ("reset", KEEP)]
    assert witness.triggers == [Trigger(TriggerKind.PLATFORM, "", None)]
    assert witness.calls == [REGISTER, INVALIDATE, REGISTER]
    assert [milestone for milestone, _at in result.timeline] == list(Milestone)


class OtherFirmware(ScriptedFirmware):
    """The platform's own takes the dump, which the next handover tells."""

    def call(self, call, memory):
        if call.token == OS_TERM:
            self.state = State.TRIGGERED
            return Watched(Trigger(TriggerKind.OS_TERM, "", 0))
        if call.token == INVALIDATE:
            self.preserved = None
        super().call(call, memory)
        return PassThrough()

    def describe(self, tree):
        if self.state is State.TRIGGERED:
            self.state, self.preserved = State.ACTIVE, DUMP

    def on_reset(self):
        pass


class Onlooker:
    """An inspector."""

    crashes = 0

    def crashed(self, machine, cpus, crashing_cpu):
        self.crashes += 1


def test_a_dump_that_another_firmware_takes_is_looked_at_and_left_to_it():
    crash = [*CRASH[:2], GuestReset(), *CRASH[2:]]
    machine, onlooker = ScriptedMachine(FIRST_BOOT + REGISTERED + crash + SAVE + RELEASE + PRODUCTION), Onlooker()
    seconds = itertools.count().__next__
    result = run_cycle(machine, OtherFirmware(), CycleRequest(), Witness(), onlooker, clock=seconds)
    assert [milestone for milestone, _at in result.timeline] == list(Milestone)
    assert (result.reboots, result.dump, onlooker.crashes) == (1, DUMP, 1)
    assert machine.done.count("passed through") == 4
    assert not any(isinstance(done, tuple) and done[0] == "reset" for done in machine.done)
