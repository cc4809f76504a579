import pytest

from fadump.campaign.outcome import Outcome, first_line, outcome_of, read_answer

ENDS = [
    (0, {"result": "saved"}, Outcome.SAVED),
    (0, {"result": "same"}, Outcome.SAME),
    (1, {"result": "different"}, Outcome.DIFFERENT),
    (1, {"result": "not-registered"}, Outcome.NOT_REGISTERED),
    (1, {"result": "saved", "never_struck": [{"name": "x"}]}, Outcome.NEVER_STRUCK),
    (1, {"result": "saved", "error": "a bug of Linux's"}, Outcome.OTHERWISE),
    (1, {"result": "failed", "phase": "saved"}, Outcome.LOST),
    (1, {"result": "lost", "phase": None}, Outcome.LOST),
    (1, {"result": "failed", "phase": "released"}, Outcome.UNRELEASED),
    (1, {"result": "failed", "phase": "production"}, Outcome.UNRELEASED),
    (2, {"result": "failed"}, Outcome.NOT_TRIED),
    (125, {"result": "failed"}, Outcome.NOT_TRIED),
    (143, {"result": "failed"}, Outcome.BROKEN),
    (-11, None, Outcome.BROKEN),
    (0, None, Outcome.BROKEN),
]


@pytest.mark.parametrize(("exit_code", "answer", "outcome"), ENDS)
def test_an_exit_code_and_an_answer_are_an_outcome(exit_code, answer, outcome):
    assert outcome_of(exit_code, answer) is outcome


def test_only_an_object_is_an_answer():
    assert read_answer(b'{"result": "saved"}\n') == {"result": "saved"}
    assert [read_answer(printed) for printed in (b"", b"[]", b"{", b"\xff")] == [None] * 4


def test_the_first_line_is_the_first_that_says_something():
    assert first_line("\n  \n why \nwhere") == "why"
    assert first_line("") == ""
