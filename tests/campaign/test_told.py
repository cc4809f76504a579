import re
import shlex
import subprocess

from fadump.campaign.outcome import Outcome
from fadump.campaign.results import Plan, Planned
from fadump.campaign.told import counts_text, tell
from fadump.report.html import as_html
from fadump.report.text import COLUMNS, as_text
from tests.campaign.runs import plan, run


def command(words):
    return " ".join(["fadump", *words])


def matrix(*faults):
    cases = [
        Planned(number, {"platform": (platform,), "fault": fault}, ["run", f"--platform={platform}"])
        for number, (platform, fault) in enumerate(
            ((platform, fault) for fault in faults for platform in ("pseries", "powernv")), 1
        )
    ]
    return Plan("faults", "7", cases, [])


def test_the_factor_with_the_most_values_goes_down_and_the_others_across():
    text = as_text(tell(matrix((), ("a",), ("b",)), {1: run(), 4: run(Outcome.LOST, "why")}, command, "end"))
    assert re.search(r"fault +pseries +powernv\n- +✓ saved\na +✗ lost\nb\n", text)
    assert "4 still to run" in text


def test_each_failure_has_its_error_s_line_and_its_command():
    text = as_text(tell(matrix(("a",)), {1: run(), 2: run(Outcome.LOST, "no /proc/vmcore")}, command, "end"))
    assert "✗ lost: platform=powernv fault=a (run 2)\n! no /proc/vmcore\n  fadump run --platform=powernv\n" in text
    assert "platform=pseries fault=a (run 1)" not in text


def test_a_page_wraps_a_long_reason_and_leaves_a_command_s_lines_as_they_are():
    reason = "the guest could not save " * 20
    page = as_html(tell(matrix(("a",)), {1: run(Outcome.LOST, reason.strip())}, command, "end"))
    (lines,) = re.findall(r"<pre.*?</pre>", page, re.DOTALL)
    assert "fadump run --platform=pseries" in lines and "could not save" not in lines
    assert reason.strip() in page


def test_many_combinations_are_a_list():
    many = plan(*(f"{size}G" for size in range(1, 40)))
    cases = [Planned(case.number, {**case.values, "cpus": (str(case.number),)}, case.words) for case in many.cases]
    text = as_text(tell(Plan("many", "0", cases, []), {39: run(Outcome.TOO_LONG, "not done")}, command, "end"))
    assert re.search(r"run  memory  cpus  outcome\n  1  1G      1\n", text)
    assert re.search(r"\n 39  39G     39    ✗ timeout\n", text)


def test_what_a_guest_has_said_can_not_become_markup():
    page = as_html(tell(matrix(("a",)), {1: run(Outcome.LOST, "<script>alert(1)</script>\x1b[2J")}, command, "end"))
    assert "<script" not in page and "\x1b" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;\\x1b[2J" in page


def test_the_counts_are_a_line():
    assert counts_text(matrix(("a",)), {1: run(), 2: run(Outcome.LOST)}) == "1 saved, 1 lost"
    assert counts_text(matrix(("a",)), {}) == "2 still to run"


def test_a_long_command_can_be_pasted_from_the_text():
    words = ["run", *(f"--cmdline=a b={number} 'c'" for number in range(9)), "--memory=1G"]
    case = Planned(1, {"memory": ("1G",)}, words)
    text = as_text(tell(Plan("long", "0", [case], []), {1: run(Outcome.LOST, "why")}, shlex.join, "end"))
    pasted = text.partition("! why\n")[2].partition("\n\n")[0]
    told = subprocess.run(["sh", "-c", f"printf '%s\\n' {pasted}"], capture_output=True, text=True, check=True).stdout
    assert told.splitlines() == words
    assert all(len(line) <= COLUMNS for line in text.splitlines())
