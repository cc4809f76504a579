"""What is said where no line moves, by a clock that only the tests turn."""

import signal
import threading

import pytest

from fadump.reminder import Reminder

SECONDS = 60


@pytest.fixture
def said():
    return []


@pytest.fixture
def reminder(clock, said):
    return Reminder(lambda: said.append(clock.now), 2, 10, clock)


def test_it_is_said_after_the_first_silence_and_then_at_longer_intervals(reminder, clock, said):
    for tenth in range(1, 251):
        clock.now = 1000 + tenth / 10
        reminder.look()
    assert said == [1002, 1012, 1022]


def test_other_words_begin_a_new_silence(reminder, clock, said):
    for now in (1001, 1002.5):
        clock.now = now
        reminder.begin()
        reminder.look()
    clock.now = 1004.5
    reminder.look()
    assert said == [1004.5]


def test_while_something_else_is_shown_nothing_is_said_and_after_it_there_is_a_new_silence(reminder, clock, said):
    with reminder.paused():
        clock.now = 1100
        reminder.look()
    reminder.look()
    assert said == []
    clock.now = 1102
    reminder.look()
    assert said == [1102]


def test_signals_are_the_main_threads(clock):
    """One that another thread got would interrupt nothing that the main thread waits for."""
    blocked = []
    looked = threading.Event()

    def say():
        blocked.append(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
        looked.set()

    with Reminder(say, 0, 10, clock).shown():
        assert looked.wait(SECONDS)
    assert {signal.SIGINT, signal.SIGTERM, signal.SIGALRM} <= blocked[0]
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ()) & {signal.SIGINT, signal.SIGTERM, signal.SIGALRM}


def test_it_is_said_of_a_block_that_does_nothing_by_itself(clock):
    said = threading.Event()
    reminder = Reminder(said.set, 2, 10, clock)
    before = threading.active_count()
    with reminder.shown():
        clock.now += 2
        assert said.wait(SECONDS)
    assert threading.active_count() == before
