"""JUnit's XML, as another reader of it reads it."""

import pytest
from junitparser import Error, Failure, JUnitXml, Skipped

from fadump.ci.junit import Case, Outcome, Suite, encode

CASES = [
    Case("registered", 12.3456),
    Case("crash", 1.0, Outcome.FAILED, "it hangs\n  | <last> & line", kind="crash", said="console & <all>"),
    Case("saved", outcome=Outcome.SKIPPED, sentence="not reached", kind="crash"),
    Case("disk", 0.5, Outcome.ERROR, "no disk", kind="disk"),
]
SUITE = Suite("fadump.run", CASES, "2026-11-30T05:00:00", [("command", "fadump run --cmdline 'a=\"b\"'")])


def read(suite):
    (found,) = JUnitXml.fromstring(encode(suite))
    return found


def test_a_suite_is_read_as_it_was_written():
    suite = read(SUITE)
    assert (suite.name, suite.tests, suite.failures, suite.errors, suite.skipped) == ("fadump.run", 4, 1, 1, 1)
    assert (suite.timestamp, suite.time) == ("2026-11-30T05:00:00", 13.846)
    assert [(each.name, each.value) for each in suite.properties()] == list(SUITE.properties)
    assert [(case.classname, case.name, case.time) for case in suite] == [
        *[("fadump.run", "registered", 12.346), ("fadump.run", "crash", 1.0)],
        *[("fadump.run", "saved", 0.0), ("fadump.run", "disk", 0.5)],
    ]
    passed, failed, skipped, error = suite
    assert passed.is_passed and passed.system_out is None
    assert [type(result) for case in (failed, skipped, error) for result in case.result] == [Failure, Skipped, Error]
    (failure,) = failed.result
    assert (failure.message, failure.type, failure.text) == ("it hangs", "crash", "it hangs\n  | <last> & line")
    assert failed.system_out == "console & <all>"


@pytest.mark.parametrize("character", ["\0", "\x1b", "\x08", "\ufffe", "\ud800"])
def test_what_no_xml_can_have_is_escaped(character):
    case = Case(f"a{character}b", 1.0, Outcome.FAILED, f"c{character}d", kind=f"e{character}f", said=f"g{character}h")
    (case,) = read(Suite("fadump.run", [case], "2026-11-30T05:00:00", [("x", character)]))
    escaped = character.encode("unicode_escape").decode()
    (failure,) = case.result
    assert [case.name, failure.text, failure.message, failure.type, case.system_out] == [
        f"{left}{escaped}{right}" for left, right in ("ab", "cd", "cd", "ef", "gh")
    ]


def test_tabs_line_ends_and_letters_of_all_languages_stay():
    (case,) = read(Suite("fadump.run", [Case("x", said="ä\t𝄞\n語")], "2026-11-30T05:00:00"))
    assert case.system_out == "ä\t𝄞\n語"
