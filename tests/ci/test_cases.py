"""Which test cases a command's ending is."""

import time

import pytest

from fadump.ci.cases import cases_of, suite_of, tail
from fadump.ci.junit import Outcome
from fadump.ci.record import Ending, Record
from fadump.observer import Milestone

SAME = {"bytes_different": 0, "differences": [], "registers_different": []}
ORDER = list(Milestone)


def record_of(tmp_path, reached, cycles=1):
    """Reaches so many milestones, a second apart, in the last of these cycles, and all in those before it."""
    record = Record("run", ["fadump", "run"], tmp_path)
    record.cycles = cycles
    at = 0.0
    for record.cycle in range(1, cycles + 1):
        for milestone in ORDER[: reached if record.cycle == cycles else None]:
            if record.cycle == 1 or milestone is not Milestone.POWER_ON:
                record.note(milestone, at)
                at += 1
    return record


def told(record, code, seconds=20.0, console=None, **object_):
    return [(case.name, case.outcome) for case in cases_of(record, Ending(object_, code, seconds, console))]


def passed(*names):
    return [(name, Outcome.PASSED) for name in names]


def test_a_good_run_has_a_case_for_each_milestone_and_each_proof(tmp_path):
    record = record_of(tmp_path, None)
    verified = SAME | {"opalcore": {"bytes_different": 0}, "hash_table": {"bytes_different": 0, "not_compared": None}}
    cases = cases_of(record, Ending({"result": "saved", "verified": verified}, 0, 20.0, None))
    names = [*ORDER, *(f"verified: {name}" for name in ("memory", "registers", "OPAL's core", "hash page table"))]
    assert [(case.name, case.outcome) for case in cases] == passed(*names)
    assert [case.seconds for case in cases[1:9]] == [1.0] * 8


def test_what_comes_before_power_on_is_its_time(tmp_path):
    record = Record("run", ["fadump"], tmp_path)
    record.started = time.monotonic() - 30
    record.note(Milestone.POWER_ON, 0.0)
    (case,) = cases_of(record, Ending({}, 0, 30.0, None))
    assert 30 <= case.seconds < 40


@pytest.mark.parametrize(("code", "outcome"), [(1, Outcome.FAILED), (125, Outcome.ERROR), (143, Outcome.ERROR)])
def test_the_milestone_that_was_not_reached_has_failed_and_what_follows_is_skipped(tmp_path, code, outcome):
    record = record_of(tmp_path, 3)
    console = tmp_path / "console.log"
    console.write_bytes(b"one\r\n" * 200 + b"Oops\r\n")
    object_ = {"error": "it hangs\n  | Oops", "phase": "preserved", "firmware": "too small"}
    cases = cases_of(record, Ending(object_, code, 20.0, console))
    missed = [(str(name), Outcome.SKIPPED) for name in ORDER[4:]]
    assert [(case.name, case.outcome) for case in cases] == [*passed(*ORDER[:3]), ("preserved", outcome), *missed]
    failed = cases[3]
    reason = "the firmware's reason: too small"
    assert failed.sentence == f"it hangs\n  | Oops\non the way to: preserved\n{reason}"
    assert failed.said.splitlines() == ["one"] * 99 + ["Oops"]
    assert sum(case.seconds for case in cases) == pytest.approx(20.0)


def test_what_fails_before_power_on_is_an_error_there(tmp_path):
    record = Record("run", ["fadump"], tmp_path)
    cases = cases_of(record, Ending({"error": "no QEMU", "phase": "power_on"}, 125, 7.0, None))
    assert [(case.name, case.outcome) for case in cases] == [
        ("power_on", Outcome.ERROR),
        *((str(name), Outcome.SKIPPED) for name in ORDER[1:]),
    ]
    assert cases[0].seconds == 7.0


def test_a_dump_that_differs_fails_its_proof_alone(tmp_path):
    verified = SAME | {"bytes_different": 8, "differences": ["0x10..0x18"], "registers_different": None}
    cases = cases_of(record_of(tmp_path, None), Ending({"error": "8 bytes", "verified": verified}, 1, 20.0, None))
    wrong = [case for case in cases if case.outcome is not Outcome.PASSED]
    assert [(case.name, case.outcome) for case in wrong] == [
        ("verified: memory", Outcome.FAILED),
        ("verified: registers", Outcome.SKIPPED),
    ]
    assert wrong[0].sentence == "8 bytes are not what the machine had at its crash\n0x10..0x18"
    assert wrong[1].sentence == "no register was compared"


def test_a_proof_that_was_not_made_is_skipped(tmp_path):
    verified = SAME | {"hash_table": {"bytes_different": 0, "not_compared": "it was not read"}}
    *_others, case = cases_of(record_of(tmp_path, None), Ending({"verified": verified}, 0, 20.0, None))
    assert (case.name, case.outcome, case.sentence) == (
        *("verified: hash page table", Outcome.SKIPPED),
        "it was not read",
    )


def test_what_is_wrong_otherwise_is_a_case_of_its_own(tmp_path):
    cases = told(record_of(tmp_path, None), 1, error="the fault never struck", verified=SAME)
    assert cases[-1] == ("verdict", Outcome.FAILED)
    assert told(record_of(tmp_path, None), 0, verified=SAME) == cases[:-1]


def test_cycles_are_told_apart(tmp_path):
    cases = told(record_of(tmp_path, 4, cycles=2), 1, error="it hangs", phase="capture_boot")
    assert cases[:10] == passed(*(f"cycle 1: {name}" for name in ORDER), "cycle 2: registered")
    assert cases[12:14] == [("cycle 2: capture_boot", Outcome.FAILED), ("cycle 2: vmcore_ready", Outcome.SKIPPED)]


def test_the_proofs_of_several_cycles_are_told_apart(tmp_path):
    bad = SAME | {"bytes_different": 1, "differences": ["0x1..0x2"]}
    cases = told(record_of(tmp_path, None, cycles=2), 1, error="1 byte", cycles=[{"verified": SAME}, {"verified": bad}])
    assert cases[-4:] == [
        *passed("cycle 1: verified: memory", "cycle 1: verified: registers"),
        *[("cycle 2: verified: memory", Outcome.FAILED), ("cycle 2: verified: registers", Outcome.PASSED)],
    ]


def test_a_suite_says_what_was_run(tmp_path):
    suite = suite_of(record_of(tmp_path, None), Ending({"result": "saved", "platform": "powernv"}, 0, 1.0, None))
    assert suite.name == "fadump.run"
    assert {("command", "fadump run"), ("platform", "powernv"), ("exit_code", "0")} < {*suite.properties}


def test_a_console_of_any_size_and_content_has_an_end(tmp_path):
    console = tmp_path / "console.log"
    console.write_bytes(b"\xff" * (3 << 20) + b"\nlast\n")
    assert tail(console)[-1] == "last"
    assert tail(None) == []
