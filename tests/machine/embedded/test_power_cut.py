"""The power is cut between any two steps: nothing of ours breaks, and a later boot works."""

import os

import pytest

from fadump.firmware.contract import State
from fadump.machine.channel import (
    Crash,
    Crashing,
    Failed,
    Hello,
    Register,
    Registered,
    Release,
    Reregister,
    Save,
    Saved,
    SaveOpalCore,
    Unregister,
    Unregistered,
)
from fadump.memory.ranges import Range
from tests.machine.embedded.bench import ALL, RebootedError, bench

GIB = 1 << 30
MOST_EVENTS = 40


def whole_cycle(guest):
    if guest.to_capture().is_capture is False:  # the cut has come before the crash
        raise RebootedError
    guest.to_production()


@pytest.mark.parametrize("platform", ALL)
def test_at_every_event_of_a_cycle(platform):
    cut_at, finished = 0, False
    while not finished:
        cut_at += 1
        assert cut_at < MOST_EVENTS
        with bench(platform) as guest:
            guest.cut_at = cut_at
            try:
                whole_cycle(guest)
                finished = guest.events < cut_at
            except RebootedError:
                pass
            assert finished or guest.resets == 1
            settle(guest)
    assert cut_at >= 15, "a cycle has more events than that"


def settle(guest):
    """Whatever has happened: the guest can be brought to a registration, and through a crash, from here."""
    guest.cut_at = None
    guest.machine.press_reset()
    hello = guest.until(Hello)
    if guest.firmware.state is State.ACTIVE:
        assert hello.is_capture
        guest.to_production()
    assert guest.ask(Register(), Registered).word == "registered"
    guest.ask(Crash(0), Crashing)
    assert guest.until(Hello).is_capture
    guest.to_production()
    assert guest.firmware.state is State.REGISTERED


def test_a_power_cut_in_a_capture_boot_keeps_the_dump_to_the_last_byte():
    with bench() as guest:
        guest.to_capture()
        guest.ask(Save(), Saved)
        before = saved(guest)
        guest.machine.press_reset()
        assert guest.until(Hello).is_capture
        guest.ask(Save(), Saved)
        assert saved(guest) == before


def saved(guest):
    return os.pread(guest.disk_fd, GIB, 0)


def test_a_guest_without_a_dump_refuses_what_needs_one():
    with bench() as guest:
        guest.to_registered()
        for request, word in ((Save(), "save"), (Release(), "release"), (SaveOpalCore(), "save_opalcore")):
            assert guest.ask(request, Failed).step == word
        assert guest.ask(Crash(7), Failed).reason == "CPU 7 can't be used: Invalid argument"
        assert guest.ask(Unregister(), Unregistered).word == "unregistered"
        assert guest.ask(Reregister(), Registered).word == "registered"


def test_a_disk_that_is_too_small_is_told():
    with bench(memory=(Range(0, GIB),)) as guest:
        guest.to_capture()
        os.ftruncate(guest.disk_fd, 1 << 20)
        assert "the disk only 1048576" in guest.ask(Save(), Saved).reason
