"""How long a guest may take, by a clock that a test moves."""

import pytest

from fadump.firmware.contract import FirmwareCall
from fadump.patience import Patience


@pytest.fixture
def patience(clock):
    return Patience(300.0, clock)


def test_without_a_limit_nothing_is_ever_over(patience, clock):
    patience.interrupted(0)
    clock.now += 1e9
    assert (patience.is_limited, patience.is_over(), patience.silence_seconds) == (False, False, 300.0)


def test_a_limit_shortens_the_wait_and_is_over_once(patience, clock):
    patience.interrupted(30_500)
    assert (patience.is_limited, patience.silence_seconds) == (True, 30.5)
    clock.now += 30
    assert (patience.is_over(), patience.silence_seconds) == (False, 0.5)
    clock.now += 0.5
    assert (patience.silence_seconds, patience.is_over(), patience.is_over()) == (0.0, True, False)
    assert (patience.is_limited, patience.silence_seconds) == (False, 300.0)


def test_a_limit_beyond_the_silence_changes_no_wait(patience):
    patience.interrupted(1_000_000)
    assert patience.silence_seconds == 300.0


def test_a_report_ends_the_limit(patience, clock):
    patience.interrupted(1)
    patience.reported()
    clock.now += 1
    assert not patience.is_over()


def test_equal_calls_are_counted_until_something_comes_between(patience):
    call, other = (FirmwareCall(0, token, (), 1, 0) for token in (1, 2))
    assert [patience.asked(call) for _ in range(3)] == [1, 2, 3]
    assert [patience.asked(other), patience.asked(call)] == [1, 1]
    patience.heard()
    assert patience.asked(call) == 1
