"""A session is served, and waits for what the firmware sees, whoever the guest is."""

import itertools
from contextlib import suppress

import pytest

from fadump.errors import MachineError
from fadump.machine.channel import (
    Hello,
    Register,
    Registered,
)
from fadump.machine.contract import GuestReset, Stopped
from fadump.observer import CrashBy, Seen, Unwatched
from fadump.session import Session
from tests.scripted_guest import (
    CRASH,
    FIRST_BOOT,
    INVALIDATE,
    KEEP,
    OS_TERM,
    REGISTER,
    UNREGISTER,
    ScriptedFirmware,
    ScriptedMachine,
    call,
    handover,
    hello,
)

NOBODY_TO_ASK = "this machine's guest has no guest channel, so it can't be asked for anything"


def test_what_the_firmware_sees_needs_no_guest_channel():
    boots = [
        *[handover(1), call(REGISTER), call(UNREGISTER), call(REGISTER), call(OS_TERM)],
        *[handover(2), call(INVALIDATE), call(REGISTER), GuestReset(), handover(3), call(REGISTER)],
    ]
    machine = ScriptedMachine(boots, has_channel=False)
    session = Session(machine, ScriptedFirmware(), Unwatched())
    awaited = [
        *[Seen.REGISTERED, Seen.UNREGISTERED, Seen.REGISTERED, Seen.CRASHED, Seen.CAPTURE_BOOT, Seen.INVALIDATED],
        *[Seen.REGISTERED, Seen.RESET, Seen.REGISTERED],
    ]
    assert [session.wait_for(seen) for seen in awaited] == awaited
    seen = [seen for seen, _at in session.record.seen]
    assert seen == [*awaited[:4], Seen.PRESERVED, *awaited[4:]]
    assert machine.done.count(("reset", KEEP)) == machine.done.count("forget_kept") == 1
    assert session.record.resets == 2


class TimedFirmware(ScriptedFirmware):
    """Its guest has registered with a limit of ten seconds."""

    nmi_limit_ms = 10_000


def interrupted(events, firmware=None):
    """What is done to a guest that is interrupted once it has registered; a second passes at each look at the clock."""
    machine = ScriptedMachine([handover(1), call(REGISTER), *events])
    session = Session(machine, firmware or TimedFirmware(), Unwatched(), clock=itertools.count().__next__)
    assert session.wait_for(Seen.REGISTERED) is Seen.REGISTERED
    session.crash(CrashBy.NMI)
    with suppress(MachineError):  # the end of the script
        session.wait_for(Seen.PRESERVED)
    return machine.done[machine.done.index("inject_nmi") + 1 :]


SILENCE = Stopped("nothing has happened", [], silent=True)


def test_a_guest_that_does_not_report_its_crash_in_time_is_dumped_by_the_platform():
    assert interrupted([SILENCE] * 20) == ["halt", ("reset", KEEP)]


def test_a_guest_that_goes_on_otherwise_does_not_gain_time():
    assert interrupted([call(REGISTER)] * 20)[-2:] == ["halt", ("reset", KEEP)]


@pytest.mark.parametrize("events", [[call(OS_TERM)], [SILENCE, call(OS_TERM)]])
def test_a_guest_that_reports_its_crash_in_time_has_its_dump(events):
    assert interrupted(events) == [("reset", KEEP)]


def test_a_guest_that_is_reset_or_no_longer_registered_is_not_dumped():
    assert "halt" not in interrupted([GuestReset(), handover(2), *[call(UNREGISTER)] * 20])
    assert "halt" not in interrupted([call(UNREGISTER)] * 20)


def test_without_a_limit_silence_is_the_end():
    assert interrupted([SILENCE] * 3, ScriptedFirmware()) == []


def test_a_guest_that_registers_for_ever_is_recorded_in_a_bounded_space():
    again = [call(UNREGISTER), call(REGISTER)]
    machine = ScriptedMachine([handover(1), call(REGISTER), *again * 300, call(OS_TERM)], has_channel=False)
    session = Session(machine, ScriptedFirmware(), Unwatched())
    assert session.wait_for(Seen.CRASHED) is Seen.CRASHED
    assert len(session.record.seen) == 256
    assert (session.record.counts[Seen.REGISTERED], session.record.counts[Seen.UNREGISTERED]) == (301, 300)
    assert session.wait_for(Seen.PRESERVED) is Seen.PRESERVED


def test_whichever_comes_first_is_waited_for():
    session = Session(ScriptedMachine([handover(1), GuestReset(), call(REGISTER)]), ScriptedFirmware(), Unwatched())
    assert session.wait_for(Seen.REGISTERED, Seen.RESET) is Seen.RESET
    with pytest.raises(MachineError, match="for the firmware to see 'crashed': end of script\n  | last line"):
        session.wait_for(Seen.CRASHED)


def test_what_was_seen_since_the_last_wait_is_not_waited_for():
    machine = ScriptedMachine([handover(1), call(REGISTER), handover(2), call(INVALIDATE), call(REGISTER)])
    session = Session(machine, ScriptedFirmware(), Unwatched())
    assert session.wait_for(Seen.REGISTERED) is Seen.REGISTERED
    session.crash(CrashBy.PLATFORM)
    assert session.wait_for(Seen.PRESERVED) is Seen.PRESERVED
    assert session.record.events == 2
    assert session.wait_for(Seen.REGISTERED) is Seen.REGISTERED
    assert session.record.events == 5


def test_the_same_is_waited_for_once_more():
    machine = ScriptedMachine([handover(1), call(REGISTER), call(REGISTER), call(UNREGISTER), call(REGISTER)])
    session = Session(machine, ScriptedFirmware(), Unwatched())
    assert [session.wait_for(Seen.REGISTERED), session.wait_for(Seen.REGISTERED)] == [Seen.REGISTERED] * 2
    assert session.record.events == 5
    with pytest.raises(MachineError, match="for the firmware to see 'registered': end of script"):
        session.wait_for(Seen.REGISTERED)


def test_of_what_was_seen_before_the_first_is_told_and_the_others_are_not_lost():
    session = Session(ScriptedMachine(CRASH), ScriptedFirmware(), Unwatched())
    session.crash(CrashBy.SYSRQ)
    session.expect(Hello)
    assert session.wait_for(Seen.CAPTURE_BOOT, Seen.PRESERVED) is Seen.PRESERVED
    assert session.wait_for(Seen.CAPTURE_BOOT, Seen.PRESERVED) is Seen.CAPTURE_BOOT


def test_a_guest_without_a_channel_is_not_asked():
    machine = ScriptedMachine(FIRST_BOOT, has_channel=False)
    with pytest.raises(MachineError, match=NOBODY_TO_ASK):
        Session(machine, ScriptedFirmware(), Unwatched()).ask(Register(), Registered)
    assert machine.done == []


@pytest.mark.parametrize(("resets", "ends_well"), [(2, True), (3, False), (30, False)])
def test_a_guest_that_panics_at_each_boot_is_given_up(resets, ends_well):
    boots = [event for boot in range(resets) for event in (handover(boot + 1), GuestReset())]
    machine = ScriptedMachine([*boots, handover(resets + 1), hello()])
    session = Session(machine, ScriptedFirmware(), Unwatched())
    if ends_well:
        assert session.expect(Hello) == hello()
        return
    with pytest.raises(MachineError, match="report 'hello': it has reset itself 3 times, as a kernel"):
        session.expect(Hello)
    assert session.record.counts[Seen.RESET] == 3


def test_resets_with_a_word_between_do_not_add_up():
    boots = [event for boot in range(9) for event in (handover(boot + 1), hello(), GuestReset())]
    session = Session(ScriptedMachine([*boots, handover(10), hello()]), ScriptedFirmware(), Unwatched())
    assert [session.expect(Hello) for _boot in range(10)] == [hello()] * 10


def test_the_tree_that_a_kernel_is_entered_with_is_shown_as_the_firmware_has_completed_it():
    shown = []

    class Describing(ScriptedFirmware):
        def describe(self, tree):
            tree.root.properties["described"] = b""

    class Watching(Unwatched):
        def handed_over(self, handover):
            shown.append((handover.boot, *handover.tree.root.properties))

    session = Session(ScriptedMachine([*FIRST_BOOT, handover(2), hello()]), Describing(), Watching())
    session.expect(Hello)
    session.expect(Hello)
    assert shown == [(1, "described"), (2, "described")]
