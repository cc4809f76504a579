"""A session is served, and waits for what the firmware sees, whoever the guest is."""

import pytest

from fadump.errors import MachineError
from fadump.machine.channel import (
    Hello,
    Register,
    Registered,
)
from fadump.machine.contract import GuestReset
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
