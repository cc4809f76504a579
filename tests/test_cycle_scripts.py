"""Scripts in a cycle's guest: in production, to crash it, and in the capture kernel."""

import itertools

import pytest

from fadump.cycle import Booted, CycleRequest, boot, run_cycle, run_script
from fadump.errors import MachineError
from fadump.machine.channel import Crash, Register, Release, Reregister, RunScript, Save, ScriptRan
from fadump.machine.contract import GuestReset
from fadump.observer import Milestone
from tests.scripted_guest import (
    CRASH,
    FALLEN_BACK,
    FIRST_BOOT,
    INVALIDATE,
    KEEP,
    PRODUCTION,
    REGISTERED,
    RELEASE,
    SAVE,
    ScriptedFirmware,
    ScriptedMachine,
    Witness,
    call,
    handover,
    hello,
    run,
)

RAN = ScriptRan(0, 3, b"ok\n")
FAILED = ScriptRan(3, 8, b"no \x1broom\n")
CRASHED = CRASH[1:]
"""A crash that nobody has announced."""


def asked(machine):
    return [done for done in machine.done if isinstance(done, RunScript | Crash | Save | Release)]


def test_a_script_can_crash_the_guest():
    events = [*FIRST_BOOT, *REGISTERED, *CRASHED, *SAVE, *RELEASE, *PRODUCTION]
    machine, result = run(events, crash_script="lkdtm")
    assert asked(machine) == [RunScript("lkdtm", may_crash=True), Save(), Release()]
    assert [milestone for milestone, _at in result.timeline] == list(Milestone)


def test_one_that_does_not_is_told_with_what_it_has_printed():
    with pytest.raises(MachineError, match=r"^Linux has survived the script .* status 3: no \\x1broom$") as error:
        run([*FIRST_BOOT, *REGISTERED, FAILED], crash_script="lkdtm")
    assert error.value.phase == Milestone.CRASH
    with pytest.raises(MachineError, match="status 0: it has printed nothing"):
        run([*FIRST_BOOT, *REGISTERED, ScriptRan(0, 0, b"")], crash_script="true")


def test_a_script_that_crashes_a_guest_without_a_registration_leaves_no_dump():
    with pytest.raises(MachineError, match="booted again after the crash without a dump"):
        run([*FIRST_BOOT, *REGISTERED, GuestReset(), handover(2), hello()], crash_script="reboot -f")


def test_a_capture_script_runs_when_the_dump_is_saved_and_before_its_release():
    events = [*FIRST_BOOT, *REGISTERED, *CRASH, *SAVE, RAN, *RELEASE, *PRODUCTION]
    machine, result = run(events, capture_script="mine")
    assert asked(machine) == [Crash(0), Save(), RunScript("mine"), Release()]
    assert (result.captured, result.memory_released) == (b"ok\n", 4096)


def test_a_capture_script_may_release_the_dump_itself():
    events = [*FIRST_BOOT, *REGISTERED, *CRASH, *SAVE, call(INVALIDATE), RAN, *PRODUCTION]
    machine, result = run(events, capture_script="mine")
    assert asked(machine) == [Crash(0), Save(), RunScript("mine")]
    assert [milestone for milestone, _at in result.timeline] == list(Milestone)
    assert result.memory_released == 0


def test_a_capture_script_that_fails_fails_the_cycle():
    with pytest.raises(MachineError, match=r"^the capture script has ended with status 3: no \\x1broom$") as error:
        run([*FIRST_BOOT, *REGISTERED, *CRASH, *SAVE, FAILED], capture_script="mine")
    assert error.value.phase == Milestone.RELEASED


def test_a_machine_is_booted_asked_and_then_crashed():
    machine = ScriptedMachine([*FIRST_BOOT, *REGISTERED, RAN, *CRASH, *SAVE, *RELEASE, *PRODUCTION])
    firmware = ScriptedFirmware()
    booted = boot(machine, firmware, Witness())
    assert isinstance(booted, Booted)
    assert (booted.kernel_release, booted.cpus, booted.reserved_bytes) == ("6.12", 2, 0x8000)
    assert run_script(machine, firmware, "uname", Witness(), booted) == b"ok\n"
    seconds = itertools.count().__next__
    result = run_cycle(machine, firmware, CycleRequest(), Witness(), before=booted, clock=seconds)
    assert [milestone for milestone, _at in result.timeline] == list(Milestone)
    assert machine.done == [
        ("enter", 1), ("answer", 0), Register(), RunScript("uname"), Crash(0), ("reset", KEEP), ("enter", 2), Save(),
        Release(), "forget_kept", ("answer", 0), Reregister(), ("answer", 0),
    ]  # fmt: skip


def test_a_script_that_fails_or_ends_the_guest_is_told():
    booted = Booted([(Milestone.POWER_ON, 0.0), (Milestone.REGISTERED, 1.0)], "6.12", 2, 0x8000, 0.0)
    with pytest.raises(MachineError, match=r"^the script has ended with status 3: no \\x1broom$"):
        run_script(ScriptedMachine([FAILED]), ScriptedFirmware(), "false", Witness(), booted)
    with pytest.raises(MachineError, match="booted again instead of reporting 'ran'") as error:
        run_script(ScriptedMachine([GuestReset(), handover(2), hello()]), ScriptedFirmware(), "x", Witness(), booted)
    assert error.value.phase == Milestone.CRASH


def test_a_guest_that_has_fallen_back_to_kdump_is_not_registered():
    with pytest.raises(MachineError, match="has not registered: it has reserved memory for kdump") as error:
        boot(ScriptedMachine(FALLEN_BACK), ScriptedFirmware(), Witness())
    assert error.value.phase == Milestone.REGISTERED
