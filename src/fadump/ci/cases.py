"""A command's ending as test cases: one for each milestone on its way, and one for each proof of its dump."""

import itertools
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import fadump
from fadump.ci.junit import Case, Outcome, Suite
from fadump.ci.record import Ending, Record, Step
from fadump.observer import Milestone

FAILED = 1
"""The exit code of what was tried; with any other that isn't 0, it has not come to a verdict."""
_MOST_LINES = 100
_MOST_TAIL_BYTES = 1 << 20
_ABOUT = ("machine", "platform", "kernel_release", "result")
"""Of a JSON object, what tells one run from another."""
_PROOFS = {"opalcore": "OPAL's core", "hash_table": "hash page table"}


def suite_of(record: Record, ending: Ending) -> Suite:
    """Everything that a command has tried, in its order."""
    about = [
        ("command", shlex.join(record.words)),
        ("fadump", fadump.__version__),
        ("exit_code", str(ending.exit_code)),
    ]
    about += [(name, str(ending.told[name])) for name in _ABOUT if ending.told.get(name) is not None]
    return suite(record, cases_of(record, ending), about)


def suite(record: Record, cases: Sequence[Case], about: Sequence[tuple[str, str]] = ()) -> Suite:
    """Cases of a command."""
    timestamp = record.started_at.replace(tzinfo=None, microsecond=0).isoformat()
    return Suite(".".join(filter(None, ("fadump", record.name, record.variant))), cases, timestamp, about)


def cases_of(record: Record, ending: Ending) -> list[Case]:
    """The milestones that were reached; the one that wasn't, and those that would have followed; the proofs."""
    cases = [*_reached(record), *_proofs(record, ending.told)]
    if ending.error is None or any(case.outcome is Outcome.FAILED for case in cases):
        return cases
    outcome = Outcome.FAILED if ending.exit_code == FAILED else Outcome.ERROR
    name = ending.phase or "verdict"
    seconds = ending.seconds - sum(case.seconds for case in cases)
    failed = Case(
        _named(name, record.cycle, record.cycles),
        max(0.0, seconds),
        outcome,
        _sentence(ending),
        kind=name,
        said="\n".join(tail(ending.console)),
    )
    return [*(case for case in cases if case.name != failed.name), failed, *_missed(record, name)]


def tail(console: Path | None) -> list[str]:
    """The last lines of a console."""
    if console is None:
        return []
    with console.open("rb") as file:
        file.seek(max(0, console.stat().st_size - _MOST_TAIL_BYTES))
        return file.read().decode(errors="replace").replace("\r", "").splitlines()[-_MOST_LINES:]


def _sentence(ending: Ending) -> str:
    told = ending.told
    lines = [str(ending.error)]
    lines += [f"on the way to: {ending.phase}"] if ending.phase is not None else []
    lines += [f"the firmware's reason: {told['firmware']}"] if "firmware" in told else []
    return "\n".join(lines)


def _reached(record: Record) -> Iterator[Case]:
    if record.powered_on is None:
        return
    before = Step(1, Milestone.POWER_ON, record.started - record.powered_on)
    for earlier, step in itertools.pairwise([before, *record.steps]):
        name = _named(step.milestone, step.cycle, record.cycles)
        yield Case(name, max(0.0, step.at_seconds - earlier.at_seconds))


def _missed(record: Record, phase: str) -> Iterator[Case]:
    """What comes after a milestone that wasn't reached."""
    order = [str(milestone) for milestone in Milestone]
    if phase not in order:
        return
    reached = {step.milestone for step in record.steps if step.cycle == record.cycle}
    for name in order[order.index(phase) + 1 :]:
        if name not in reached:
            why = f"not reached, as {phase} was not"
            yield Case(_named(name, record.cycle, record.cycles), outcome=Outcome.SKIPPED, sentence=why, kind=phase)


def _named(name: str, cycle: int, cycles: int) -> str:
    return name if cycles == 1 else f"cycle {cycle}: {name}"


def _proofs(record: Record, told: Mapping[str, Any]) -> Iterator[Case]:
    """Of each cycle whose dump was compared."""
    cycles: Sequence[Mapping[str, Any]] = told.get("cycles") or [told]
    for number, cycle in enumerate(cycles, 1):
        verified = cycle.get("verified")
        if verified is not None:
            for name, outcome, why in _verified(verified):
                yield Case(_named(f"verified: {name}", number, record.cycles), 0.0, outcome, why, kind="different")


def _verified(verified: Mapping[str, Any]) -> Iterator[tuple[str, Outcome, str]]:
    yield "memory", *_same(verified["bytes_different"], verified["differences"])
    registers = verified["registers_different"]
    if registers is None:
        yield "registers", Outcome.SKIPPED, "no register was compared"
    else:
        yield "registers", *_same(len(registers), registers, "registers")
    for key, name in _PROOFS.items():
        if key in verified:
            proof = verified[key]
            why_not = proof.get("not_compared")
            skipped = Outcome.SKIPPED, str(why_not)
            yield name, *(_same(proof["bytes_different"], ()) if why_not is None else skipped)


def _same(different: int, differences: Sequence[object], unit: str = "bytes") -> tuple[Outcome, str]:
    if not different:
        return Outcome.PASSED, ""
    first = f"{different:,} {unit} are not what the machine had at its crash"
    return Outcome.FAILED, "\n".join([first, *map(str, differences)])
