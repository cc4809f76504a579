"""The order of a cycle, and what it says when a guest or machine leaves it. Real kernels: tests/real_linux."""

import errno
import itertools

import pytest

from fadump.cycle import CycleRequest, run_cycle
from fadump.errors import MachineError
from fadump.firmware.contract import (
    Answer,
    PassThrough,
    State,
    Trigger,
    TriggerKind,
    Watched,
)
from fadump.machine.channel import (
    BootMode,
    Crash,
    Crashing,
    Failed,
    Register,
    Release,
    Reregister,
    Save,
    Saved,
    Shell,
    ShellLeft,
)
from fadump.machine.contract import BootStart, Called, FirmwareEnd, GuestReset, LetGo, StopAt
from fadump.memory.devicetree import DeviceTree, Node
from fadump.observer import CrashBy, Milestone, Seen, Unwatched
from fadump.session import Session
from tests.scripted_guest import (
    CRASH,
    DUMP,
    FIRST_BOOT,
    INVALIDATE,
    KEEP,
    OS_TERM,
    PRODUCTION,
    REGISTER,
    REGISTERED,
    RELEASE,
    SAVE,
    UNREGISTER,
    WHOLE,
    ScriptedFirmware,
    ScriptedMachine,
    Witness,
    call,
    handover,
    hello,
    run,
)


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
        ([handover(1), hello(enabled=None)], "Linux 6.12 has no FADump: .* CONFIG_FA_DUMP=y"),
        (
            [handover(1), hello(enabled=False), Failed("register", "no chunk")],
            "FADump is not enabled .* could not register: no chunk",
        ),
        ([*FIRST_BOOT, Failed("register", "EIO")], "the guest could not register: EIO"),
        ([*FIRST_BOOT, *REGISTERED, Crashing(0), GuestReset(), handover(2), hello()], "without a dump"),
        (
            [*FIRST_BOOT, *REGISTERED, Crashing(0), call(UNREGISTER), GuestReset(), handover(2), hello()],
            "crashed without a registration, so there is no dump; Linux has rebooted itself",
        ),
        ([*FIRST_BOOT, hello()], "booted again instead of reporting 'registered'"),
        (FIRST_BOOT, "while waiting for the guest to report 'registered': end of script\n  | last line"),
        ([*FIRST_BOOT, Failed("register", "")], "the guest could not register: it gives no reason"),
        (FIRST_BOOT + REGISTERED + CRASH + [*SAVE[:1], Saved(499)], "saved 499 bytes of .* 500"),
        ([handover(1), hello(BootMode.CAPTURE)], "a capture kernel, but the firmware has preserved nothing"),
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


def test_whoever_looks_at_a_crash_sees_it_before_the_dump_is_taken():
    class StandsStill(ScriptedMachine):
        def stand_still(self, point):
            self.done.append(point)
            return point is StopAt.CRASH

        def next_event(self, seconds):
            event = super().next_event(seconds)
            if event == LetGo():
                self.done.append(event)
            return event

    looked_at = [Called(), LetGo()]
    machine = StandsStill(FIRST_BOOT + REGISTERED + CRASH[:2] + looked_at + CRASH[2:] + SAVE + RELEASE + PRODUCTION)
    run_cycle(machine, ScriptedFirmware(), CycleRequest(), Witness(), clock=itertools.count().__next__)
    steps = [step for step in machine.done if isinstance(step, StopAt | LetGo) or step == ("reset", KEEP)]
    assert steps[2:5] == [StopAt.CRASH, LetGo(), ("reset", KEEP)]
    assert steps[:2] == steps[5:] == [StopAt.HANDOVER, StopAt.REGISTERED]


def test_the_platform_ends_a_guest_that_makes_no_call():
    witness = Witness()
    events = FIRST_BOOT + REGISTERED + CRASH[2:] + SAVE + RELEASE + PRODUCTION
    machine, result = run(events, witness, crash_by=CrashBy.PLATFORM)
    assert machine.done[3:5] == ["halt", ("reset", KEEP)]
    assert witness.triggers == [Trigger(TriggerKind.PLATFORM, "", None)]
    assert witness.calls == [REGISTER, INVALIDATE, REGISTER]
    assert [milestone for milestone, _at in result.timeline] == list(Milestone)


def test_the_dump_is_of_where_the_machines_own_firmware_has_ended():
    """On its way there the other CPUs run, and the one that ends it is who called."""
    witness = Witness()
    crash = [Crashing(0), call(OS_TERM), FirmwareEnd(0)]
    events = FIRST_BOOT + REGISTERED + crash + CRASH[2:] + SAVE + RELEASE + PRODUCTION
    machine = ScriptedMachine(events, ends_itself=True)
    run_cycle(machine, ScriptedFirmware(), CycleRequest(), witness, clock=itertools.count().__next__)
    assert machine.done[4:6] == ["end", ("reset", KEEP)]
    assert witness.triggers == []  # it is the call's own


def test_a_firmware_that_fails_ends_the_guest_on_its_cpu():
    witness = Witness()
    events = FIRST_BOOT + REGISTERED + [FirmwareEnd(4)] + CRASH[2:] + SAVE + RELEASE + PRODUCTION
    machine, result = run(events, witness, crash_by=CrashBy.OPAL)
    assert machine.done[3:5] == ["crash_firmware", ("reset", KEEP)]
    assert witness.triggers == [Trigger(TriggerKind.OPAL, "", 4)]
    assert [milestone for milestone, _at in result.timeline] == list(Milestone)


def test_a_reset_on_the_way_to_that_end_forgets_who_called():
    witness = Witness()
    machine = ScriptedMachine(
        [*FIRST_BOOT, call(REGISTER), call(OS_TERM), GuestReset(), FirmwareEnd(4)], ends_itself=True
    )
    session = Session(machine, ScriptedFirmware(), witness)
    session.wait_for(Seen.CRASHED)
    assert witness.triggers == [Trigger(TriggerKind.OPAL, "", 4)]


LEFT = [ShellLeft()]
BY_HAND = [call(OS_TERM), handover(2), hello(BootMode.CAPTURE)]


def asked(machine):
    """What the guest was asked for, as words."""
    return [type(done).__name__ for done in machine.done if not isinstance(done, tuple | str)]


@pytest.mark.parametrize(
    ("events", "requests"),
    [
        (FIRST_BOOT + REGISTERED + LEFT + CRASH + LEFT, "Register Shell Crash Shell Save"),
        (FIRST_BOOT + REGISTERED + BY_HAND + LEFT, "Register Shell Shell Save"),
        (FIRST_BOOT + REGISTERED + BY_HAND + BY_HAND + LEFT, "Register Shell Shell Shell Save"),
        ((FIRST_BOOT + REGISTERED) * 2 + LEFT + CRASH + LEFT, "Register Shell Register Shell Crash Shell Save"),
    ],
    ids=["left", "crashed by hand", "crashed in the capture kernel, too", "rebooted"],
)
def test_a_shell_in_each_kernel_is_left_before_the_cycle_goes_on(events, requests):
    machine = ScriptedMachine(events + SAVE + RELEASE + PRODUCTION)
    result = run_cycle(machine, ScriptedFirmware(), CycleRequest(shells=True), Witness())
    assert asked(machine) == [*requests.split(), "Release", "Reregister"]
    assert machine.done.count(Shell(BootMode.FIRST)) == requests.count("Register")
    assert result.vmcore_bytes == 500


def test_without_shells_nobody_is_let_in():
    machine = ScriptedMachine(WHOLE)
    run_cycle(machine, ScriptedFirmware(), CycleRequest(), Witness())
    assert asked(machine) == ["Register", "Crash", "Save", "Release", "Reregister"]


def test_a_capture_kernel_that_is_left_by_a_reboot_has_lost_its_dump():
    events = FIRST_BOOT + REGISTERED + LEFT + CRASH + [call(INVALIDATE), GuestReset(), handover(3), hello()]
    with pytest.raises(MachineError, match="left by a reboot, and the dump is gone"):
        run(events, shells=True)


class WantedError(MachineError):
    pass


def test_whoever_calls_is_heard_in_the_middle_of_a_step_and_may_end_it():
    def heard():
        calls.append(1)
        if len(calls) == 2:
            raise WantedError

    calls = []
    machine = ScriptedMachine([*FIRST_BOOT, Called(), *REGISTERED, Called(), *LEFT])
    with pytest.raises(WantedError) as raised:
        run_cycle(machine, ScriptedFirmware(), CycleRequest(shells=True), Witness(), called=heard)
    assert raised.value.phase == Milestone.CRASH
    assert calls == [1, 1]


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

    def released(self, machine, dump):
        pass


def test_a_dump_that_another_firmware_takes_is_looked_at_and_left_to_it():
    crash = [*CRASH[:2], GuestReset(), *CRASH[2:]]
    machine, onlooker = ScriptedMachine(FIRST_BOOT + REGISTERED + crash + SAVE + RELEASE + PRODUCTION), Onlooker()
    seconds = itertools.count().__next__
    result = run_cycle(machine, OtherFirmware(), CycleRequest(), Witness(), onlooker, clock=seconds)
    assert [milestone for milestone, _at in result.timeline] == list(Milestone)
    assert (result.reboots, result.dump, onlooker.crashes) == (1, DUMP, 1)
    assert machine.done.count("passed through") == 4
    assert not any(isinstance(done, tuple) and done[0] == "reset" for done in machine.done)


class DescribingFirmware(ScriptedFirmware):
    def describe(self, tree):
        tree.root.properties["state"] = self.state.name.encode()


def test_boot_firmware_is_told_of_the_dump_before_it_starts_a_boot_loader():
    starts = [BootStart(DeviceTree(Node("", {}, []), [], 0)) for _boot in range(3)]
    events = [starts[0], handover(1), call(REGISTER), GuestReset(), starts[1], handover(2), call(REGISTER)]
    machine = ScriptedMachine([*events, call(OS_TERM), starts[2], handover(3)], has_channel=False)
    session = Session(machine, DescribingFirmware(), Unwatched())
    assert session.wait_for(Seen.CAPTURE_BOOT) is Seen.CAPTURE_BOOT
    told = [done for done in machine.done if done[0] in ("start", "enter", "reset")]
    assert told == [
        ("start", {"state": b"IDLE"}),
        ("enter", 1),
        ("start", {"state": b"IDLE"}),
        ("enter", 2),
        ("reset", KEEP),
        ("start", {"state": b"ACTIVE"}),
        ("enter", 3),
    ]


@pytest.mark.parametrize(
    ("events", "phase"),
    [
        ([], Milestone.REGISTERED),
        (FIRST_BOOT, Milestone.REGISTERED),
        (FIRST_BOOT + REGISTERED, Milestone.CRASH),
        (FIRST_BOOT + REGISTERED + CRASH[:2], Milestone.CAPTURE_BOOT),
        (FIRST_BOOT + REGISTERED + CRASH, Milestone.VMCORE_READY),
        (FIRST_BOOT + REGISTERED + CRASH + SAVE[:1], Milestone.SAVED),
        (FIRST_BOOT + REGISTERED + CRASH + SAVE, Milestone.RELEASED),
        (WHOLE[:-2], Milestone.PRODUCTION),
    ],
)
def test_an_error_says_what_the_machine_was_on_the_way_to(events, phase):
    with pytest.raises(MachineError) as raised:
        run(events)
    assert (raised.value.phase, raised.value.firmware) == (phase.value, None)


class FullDisk(Witness):
    """An observer with nowhere to write to, once the kernel has crashed."""

    def milestone(self, milestone, at_seconds):
        if milestone is Milestone.PRESERVED:
            raise OSError(errno.ENOSPC, "No space left on device")


def test_an_error_of_the_system_says_it_too():
    with pytest.raises(OSError, match="No space") as raised:
        run(WHOLE, FullDisk())
    assert (raised.value.phase, raised.value.firmware) == ("capture_boot", None)


class RefusingFirmware(ScriptedFirmware):
    """Takes no registration."""

    def call(self, call, memory):
        return Answer(-3, reason="section 3's source is not all RAM")


def test_an_error_has_the_firmwares_reason():
    machine = ScriptedMachine([*FIRST_BOOT, Failed("register", "Invalid argument")])
    sentence = (
        "the guest could not register: Invalid argument; the firmware's reason: section 3's source is not all RAM"
    )
    with pytest.raises(MachineError, match=sentence) as raised:
        run_cycle(machine, RefusingFirmware(), CycleRequest(), Witness())
    assert (raised.value.phase, raised.value.firmware) == ("registered", "section 3's source is not all RAM")


def test_a_refusal_is_forgotten_when_the_firmware_agrees():
    machine = ScriptedMachine([call(REGISTER), call(REGISTER)])
    firmware = RefusingFirmware()
    session = Session(machine, firmware, Unwatched())
    session._serve_event("")
    assert session.refusal
    firmware.call = ScriptedFirmware().call
    session._serve_event("")
    assert session.refusal == ""
