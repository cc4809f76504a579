"""A campaign's results as a report, see :mod:`fadump.report.story`: a matrix, and each failure with its command."""

import itertools
import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

from fadump.campaign.matrix import title_of
from fadump.campaign.outcome import Outcome, Run
from fadump.campaign.results import Plan, Planned
from fadump.printable import counted, in_a_line
from fadump.progress import binary_size, duration
from fadump.report.story import Block, Facts, Line, Lines, Paragraph, Section, Story, Table, Tone
from fadump.report.text import COLUMNS

_MOST_COLUMNS = 12
_WIDTH = COLUMNS - 6
_MARKS = {
    Outcome.SAME: "✓",
    Outcome.SAVED: "✓",
    Outcome.NEVER_STRUCK: "○",
    Outcome.OTHERWISE: "!",
    Outcome.UNRELEASED: "!",
    Outcome.DIFFERENT: "≠",
    Outcome.NOT_REGISTERED: "✗",
    Outcome.LOST: "✗",
    Outcome.TOO_LONG: "✗",
    Outcome.BROKEN: "✗",
    Outcome.NOT_TRIED: "-",
}
_MEANINGS = {
    Outcome.SAME: "Linux and the model do the same",
    Outcome.SAVED: "the run has come to its end as it should",
    Outcome.NEVER_STRUCK: "saved, and the fault didn't happen",
    Outcome.OTHERWISE: "saved, and something else is wrong",
    Outcome.UNRELEASED: "saved, but its memory is not given back, or not registered again",
    Outcome.DIFFERENT: "saved, and isn't what the machine was; or Linux and the model differ",
    Outcome.NOT_REGISTERED: "Linux has not registered; what is saved is kdump's",
    Outcome.LOST: "there is no dump",
    Outcome.TOO_LONG: "it was ended as it took too long",
    Outcome.BROKEN: "the command has not ended as it should",
    Outcome.NOT_TRIED: "something is missing for it",
}
Command = Callable[[Sequence[str]], str]
"""Words of a command as a line that can be pasted."""


def counts_text(plan: Plan, runs: Mapping[int, Run]) -> str:
    """How many runs there are of each outcome, in a line."""
    counts = Counter(run.outcome for run in runs.values())
    told = [f"{counts[outcome]:,} {outcome}" for outcome in Outcome if counts[outcome]]
    left = len(plan.cases) - len(runs)
    return ", ".join([*told, *([f"{left:,} still to run"] if left else [])])


def tell(plan: Plan, runs: Mapping[int, Run], command: Command, end: str) -> Story:
    """The report of these runs."""
    return Story(
        title=f"Campaign {in_a_line(plan.name)}",
        subtitle=f"{counted(len(plan.cases), 'run')}, seed {in_a_line(plan.seed)}",
        sections=[
            Section("verdict", "Verdict", [*_verdict(plan, runs)]),
            Section("matrix", "Matrix", [*_matrix(plan, runs)]),
            Section("failures", "What failed", [*_failures(plan, runs, command)]),
            Section("files", "Files", [*_files(plan)]),
        ],
        end=end,
    )


def _verdict(plan: Plan, runs: Mapping[int, Run]) -> Iterator[Block]:
    yield Paragraph(counts_text(plan, runs), Tone.LEAD)
    used = {run.outcome for run in runs.values()}
    yield Facts([(f"{_MARKS[outcome]} {outcome}", _MEANINGS[outcome]) for outcome in Outcome if outcome in used])
    if runs:
        yield Paragraph(_cost(runs), Tone.QUIET)


def _cost(runs: Mapping[int, Run]) -> str:
    costs, count = [run.cost for run in runs.values()], len(runs)
    seconds, cpu_seconds = sum(cost.seconds for cost in costs), sum(cost.cpu_seconds for cost in costs)
    return (
        f"A run took {duration(seconds / count)}, {duration(cpu_seconds / count)} of a processor, and "
        f"{binary_size(max(cost.memory_bytes for cost in costs))} of memory at most; all of them took "
        f"{duration(seconds)}, on {counted(len({run.host for run in runs.values()}), 'computer')}."
    )


def _matrix(plan: Plan, runs: Mapping[int, Run]) -> Iterator[Block]:
    """One factor down, the others across if they are few enough, else a row for each run."""
    names = _varied(plan)
    if not names:
        names = list(plan.cases[0].values)[:1]
    down = max(names, key=lambda name: len({case.values[name] for case in plan.cases}))
    across = [name for name in names if name != down]
    columns = list(dict.fromkeys(_part(case, across) for case in plan.cases))
    if len(columns) > _MOST_COLUMNS:
        yield from _list(plan, runs, names)
        return
    cells = {(_part(case, [down]), _part(case, across)): _cell(case, runs) for case in plan.cases}
    rows = list(dict.fromkeys(_part(case, [down]) for case in plan.cases))
    heads = [down, *(" ".join(_shown(value) for value in column) or "outcome" for column in columns)]
    yield Table(
        "Outcome of each run",
        heads,
        [[*map(_shown, row), *(cells.get((row, column), "") for column in columns)] for row in rows],
    )


def _list(plan: Plan, runs: Mapping[int, Run], names: Sequence[str]) -> Iterator[Block]:
    rows = [
        [str(case.number), *(_shown(value) for value in _part(case, names)), _cell(case, runs)] for case in plan.cases
    ]
    yield Table("Outcome of each run", ["run", *names, "outcome"], rows, right=[0])


def _failures(plan: Plan, runs: Mapping[int, Run], command: Command) -> Iterator[Block]:
    failed = [case for case in plan.cases if case.number in runs and not runs[case.number].outcome.is_good]
    if not failed:
        yield Paragraph("Nothing.")
    for outcome, cases in itertools.groupby(
        sorted(failed, key=lambda case: _RANKS[runs[case.number].outcome]), lambda case: runs[case.number].outcome
    ):
        for case in cases:
            run = runs[case.number]
            yield Paragraph(f"{_MARKS[outcome]} {outcome}: {in_a_line(title_of(case.values))} (run {case.number})")
            yield Paragraph(in_a_line(run.error or "no reason was given"), Tone.WARNING)
            yield Lines([*map(Line, _in_lines(command(case.words)))], f"The command of run {case.number}")


def _in_lines(command: str) -> Iterator[str]:
    """A command in lines that can be pasted together, as no report's text is wider."""
    line = ""
    for word in map(shlex.quote, shlex.split(command)):
        if line and len(line) + len(word) > _WIDTH:
            yield f"{in_a_line(line)} \\"
            line = f"    {word}"
        else:
            line = f"{line} {word}" if line else word
    yield in_a_line(line)


def _files(plan: Plan) -> Iterator[Block]:
    if not plan.artifacts:
        yield Paragraph("The runs needed no files.")
        return
    rows = [[artifact.sha256[:16], in_a_line(artifact.path)] for artifact in plan.artifacts]
    yield Table("Files that the runs needed", ["SHA-256", "file"], rows)


_RANKS = {outcome: rank for rank, outcome in enumerate(reversed(Outcome))}
"""The worst first."""


def _varied(plan: Plan) -> list[str]:
    """The factors that have more than one value."""
    return [name for name in plan.cases[0].values if len({case.values[name] for case in plan.cases}) > 1]


def _part(case: Planned, names: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    return tuple(case.values[name] for name in names)


def _cell(case: Planned, runs: Mapping[int, Run]) -> str:
    run = runs.get(case.number)
    return "" if run is None else f"{_MARKS[run.outcome]} {run.outcome}"


def _shown(value: Sequence[str]) -> str:
    return in_a_line("+".join(value)) or "-"
