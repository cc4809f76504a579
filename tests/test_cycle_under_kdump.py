"""A cycle in which Linux has fallen back to kdump. On real Linux: tests/real_linux/more_kernels/test_kdump.py."""

import itertools

import pytest

from fadump.cycle import CycleFaults, CycleRequest, run_cycle
from fadump.errors import MachineError
from fadump.machine.channel import BootMode, Crash, Crashing, Failed, Save, Shell, ShellLeft
from fadump.machine.contract import GuestReset
from fadump.observer import CrashBy, Milestone
from tests.scripted_guest import (
    FALLEN_BACK,
    FIRST_BOOT,
    KDUMP_CRASH,
    KDUMP_LOADED,
    LOAD_KDUMP,
    SAVE,
    ScriptedFirmware,
    ScriptedMachine,
    Witness,
    handover,
    hello,
    run,
)

ARMED = [*FALLEN_BACK, KDUMP_LOADED]
LEFT = [ShellLeft()]


class Onlooker:
    """An inspector, who notes what had been done to a machine at its crash."""

    def __init__(self):
        self.seen = []

    def crashed(self, machine, cpus, crashing_cpu):
        self.seen.append((machine.done[-1], tuple(cpus), crashing_cpu))

    def released(self, machine, dump):
        pass


def test_kdump_is_armed_and_saves_the_crash():
    machine, onlooker = ScriptedMachine(ARMED + KDUMP_CRASH + SAVE), Onlooker()
    seconds = itertools.count().__next__
    result = run_cycle(machine, ScriptedFirmware(), CycleRequest(), Witness(), onlooker, clock=seconds)
    assert machine.done == [
        ("enter", 1), LOAD_KDUMP, "taken back", ("stop at", 0x8000), Crash(0), "start kdump", Save(),
    ]  # fmt: skip
    assert onlooker.seen == [(Crash(0), (), None)]  # before the crash kernel's first instruction
    assert (result.kdump, result.dump, result.boot_memory_bytes) == (KDUMP_LOADED, None, None)
    assert (result.vmcore_bytes, result.reboots, result.memory_released) == (500, 0, 0)
    assert [milestone for milestone, _at in result.timeline] == [
        Milestone.POWER_ON, Milestone.CRASH, Milestone.CAPTURE_BOOT, Milestone.VMCORE_READY, Milestone.SAVED,
    ]  # fmt: skip


def test_an_nmi_crashes_it_too():
    machine, _result = run(ARMED + KDUMP_CRASH[1:] + SAVE, crash_by=CrashBy.NMI)
    assert machine.done[4:6] == ["inject_nmi", "start kdump"]


@pytest.mark.parametrize(
    ("events", "sentence"),
    [
        ([*FALLEN_BACK, Failed("load_kdump", "error 38")], "could not load_kdump: error 38"),
        ([*ARMED, Crashing(0), GuestReset(), handover(2), FALLEN_BACK[1]], "its crash kernel has not come up"),
        ([*ARMED, *KDUMP_CRASH, GuestReset(), handover(2), FALLEN_BACK[1]], "booted again instead of .* 'saving'"),
        ([*ARMED, *KDUMP_CRASH, *SAVE[:1], Failed("save", "EIO")], "could not save: EIO"),
    ],
)
def test_what_goes_wrong_under_kdump_says_where(events, sentence):
    with pytest.raises(MachineError, match=sentence):
        run(events)


def test_the_platform_can_not_start_it():
    with pytest.raises(MachineError, match="fallen back to kdump, which a crash by the platform does not start"):
        run(FALLEN_BACK, crash_by=CrashBy.PLATFORM)


def test_a_machine_without_kexec_says_that_the_kernel_has_not_registered():
    machine = ScriptedMachine([*FALLEN_BACK, Failed("register", "no chunk")])
    machine.kexec = None
    with pytest.raises(MachineError, match="FADump is not enabled .* could not register: no chunk"):
        run_cycle(machine, ScriptedFirmware(), CycleRequest(), Witness())


@pytest.mark.parametrize(
    "crash",
    [LEFT + KDUMP_CRASH + LEFT, KDUMP_CRASH[1:] + LEFT, [GuestReset(), *ARMED, *LEFT, *KDUMP_CRASH, *LEFT]],
    ids=["left", "crashed by hand", "rebooted"],
)
def test_somebody_may_be_in_both_kernels(crash):
    machine, result = run(ARMED + crash + SAVE, shells=True)
    assert machine.done[-2:] == [Shell(BootMode.CAPTURE), Save()]
    assert result.kdump == KDUMP_LOADED


def test_a_crash_kernel_that_is_left_by_a_reboot_has_lost_its_dump():
    with pytest.raises(MachineError, match="left by a reboot, and the dump is gone"):
        run([*ARMED, *LEFT, *KDUMP_CRASH, GuestReset(), *FALLEN_BACK], shells=True)


def test_a_power_cut_before_the_crash_begins_the_story_anew():
    cut = [*FALLEN_BACK, GuestReset(), GuestReset()]  # the third event is lost
    machine, result = run(cut + ARMED + KDUMP_CRASH + SAVE, faults=CycleFaults(power_cut_at=3))
    assert machine.done.count(LOAD_KDUMP) == 2
    assert result.kdump == KDUMP_LOADED


def test_a_kernel_that_registers_is_not_asked_for_kdump():
    machine = ScriptedMachine([*FIRST_BOOT[:-1], hello(kdump_bytes=0x1000)])
    with pytest.raises(MachineError, match="end of script"):
        run_cycle(machine, ScriptedFirmware(), CycleRequest(), Witness())
    assert LOAD_KDUMP not in machine.done
