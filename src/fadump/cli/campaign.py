"""``fadump campaign``: many runs over kernels, machines and faults, here or on a Dask cluster."""

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import fadump
from fadump.campaign.compared import Change, compare
from fadump.campaign.matrix import title_of
from fadump.campaign.outcome import Outcome, Run
from fadump.campaign.results import Plan, Planned, Results
from fadump.campaign.told import counts_text, tell
from fadump.cli.numbers import number
from fadump.cli.output import Answer, ExitCode, Output
from fadump.cli.parser import Commands, add_command, add_group
from fadump.cli.paths import path
from fadump.cli.report_file import shown
from fadump.cli.typed import fadump_command
from fadump.errors import UsageError
from fadump.given import is_same_file, write_whole
from fadump.printable import counted, in_a_line

_EXAMPLE = """examples:
  fadump campaign run faults.toml                   run what faults.toml says, as many at a time as this computer bears
  fadump campaign run faults.toml                   once more: an interrupted campaign goes on where it was
  fadump campaign report faults.results -o faults.html
  fadump campaign compare before.results faults.results
"""


def add_parser(commands: Commands) -> None:
    """Add the command to the main parser, with its own."""
    group = add_group(
        commands,
        "campaign",
        summary="many runs over kernels, machines and faults, here or on a Dask cluster",
        description="Run every combination of some factors' values, or a few that have each pair of values; keep "
        "what comes of each run in one file; tell it as a matrix, and compare it with another time's.",
        example=_EXAMPLE,
    )
    _add_run(group)
    _add_status(group)
    report = add_command(
        group, "report", _report,
        summary="what has come of a campaign: a matrix, and each failure with its command",
        description="Tell what has come of each run as a matrix, and of each failure its error's first line and a "
        "command that runs it again. A page needs no network and no script.",
        example="example:\n  fadump campaign report faults.results -o faults.html\n",
    )  # fmt: skip
    _add_results(report)
    report.add_argument("-o", "--out", type=path, metavar="FILE", help="write it there: a page if it ends in .html")
    compared = add_command(
        group, "compare", _compare,
        summary="two campaigns: what got better, what got worse, what is new",
        description="Compare the runs of two campaigns that have the same values. The exit code is 1 if anything got "
        "worse.",
        example="example:\n  fadump campaign compare 6.12.results mine.results --ignore kernel\n",
    )  # fmt: skip
    compared.add_argument("earlier", type=path, metavar="EARLIER", help="the results of one campaign")
    compared.add_argument("later", type=path, metavar="LATER", help="those of the other")
    compared.add_argument(
        "--ignore", action="append", default=[], metavar="FACTOR", help="whose values may differ, as kernel"
    )
    show = add_command(
        group, "show", _show,
        summary="all that is kept of one run",
        description="Say what has come of one run, and print what is kept of it: the log of its console, its "
        "firmware's, what it has answered.",
        example="example:\n  fadump campaign show faults.results 12\n",
    )  # fmt: skip
    _add_results(show)
    show.add_argument("number", type=number(1), metavar="RUN", help="its number")


def _add_run(group: Commands) -> None:
    parser = add_command(
        group, "run", _run,
        summary="run a campaign, or go on with it",
        description="Run what a campaign's file says. Each run that has ended is kept in --results; what is there "
        "isn't run again, unless it could not be tried. docs/campaign.md says what the file may have.",
        example="example:\n  fadump campaign run faults.toml --scheduler tcp://10.0.0.1:8786\n",
    )  # fmt: skip
    parser.add_argument("file", type=path, metavar="FILE", help="the campaign, as TOML")
    parser.add_argument(
        "--results", type=path, metavar="FILE", help="what has come of it (default: the campaign's name with .results)"
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--jobs",
        type=number(1),
        metavar="COUNT",
        help="runs at a time (default: as many as processors and memory bear)",
    )
    where.add_argument(
        "--scheduler", metavar="ADDRESS", help="run it on the workers of this Dask scheduler, as tcp://HOST:8786"
    )
    parser.add_argument("--seed", help="another seed than the campaign's")
    parser.add_argument("--list", action="store_true", help="say what would be run, and run nothing")


def _add_status(group: Commands) -> None:
    parser = add_command(
        group, "status", _status,
        summary="how far a campaign is, while it runs or afterwards",
        description="Say how many runs there are of each outcome, and how many are still to come.",
        example="example:\n  fadump campaign status faults.results\n",
    )  # fmt: skip
    _add_results(parser)


def _add_results(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("results", type=path, metavar="RESULTS", help="a campaign's results")


def _run(options: argparse.Namespace, output: Output) -> Answer:
    from fadump.cli.campaign_run import run  # noqa: PLC0415 - a slow start, and the others need none of it

    return run(options, output)


def _status(options: argparse.Namespace, _output: Output) -> Answer:
    with Results.read(options.results) as results:
        plan, runs = results.plan(), results.runs()
    return Answer(counts_as_json(plan, runs), listing=f"{in_a_line(plan.name)}: {counts_text(plan, runs)}")


def _report(options: argparse.Namespace, _output: Output) -> Answer:
    if options.out is not None and is_same_file(options.out, options.results):
        raise UsageError(f"--out {options.out} holds the campaign's results: name another file")
    with Results.read(options.results) as results:
        plan, runs = results.plan(), results.runs()
    story = tell(
        plan, runs, lambda words: fadump_command(*words), f"fadump {fadump.__version__}, from {options.results}"
    )
    text, told = shown(story, options.out), f"{in_a_line(plan.name)}: {counts_text(plan, runs)}"
    if options.out is not None:
        write_whole("--out", options.out, text.encode())
    failures = [
        _case_as_json(case, runs[case.number])
        for case in plan.cases
        if case.number in runs and not runs[case.number].outcome.is_good
    ]
    return Answer(
        {
            **counts_as_json(plan, runs),
            "failures": failures,
            "report": None if options.out is None else str(options.out),
        },
        text="" if options.out is None else f"{told}\n{options.out}: the report",
        listing=text.rstrip("\n") if options.out is None else "",
    )


def _compare(options: argparse.Namespace, _output: Output) -> Answer:
    with Results.read(options.earlier) as earlier, Results.read(options.later) as later:
        found = compare(earlier, later, options.ignore)
    kinds = {"worse": found.worse, "better": found.better, "new": found.new, "gone": found.gone}
    lines = [line for kind, changes in kinds.items() for change in changes for line in _change_lines(kind, change)]
    lines.append(
        ", ".join([*(f"{len(changes):,} {kind}" for kind, changes in kinds.items()), f"{found.same:,} the same"])
    )
    error = f"{counted(len(found.worse), 'run')} got worse" if found.worse else None
    told = {kind: [_change_as_json(change) for change in changes] for kind, changes in kinds.items()}
    return Answer(
        {"result": "worse" if error else "done", **told, "same": found.same},
        text="\n".join(lines),
        exit_code=ExitCode.FAILED if error else ExitCode.DONE,
        error=error,
    )


def _change_lines(kind: str, change: Change) -> Sequence[str]:
    title = f"{kind}: {in_a_line(title_of(change.values))}: {_outcome(change.before)} -> {_outcome(change.after)}"
    if kind != "worse" or change.after is None:
        return [title]
    return [title, f"  {in_a_line(change.after.error or '')}", f"  again: {in_a_line(fadump_command(*change.words))}"]


def _outcome(run: Run | None) -> str:
    return "not run" if run is None else run.outcome


def _show(options: argparse.Namespace, _output: Output) -> Answer:
    with Results.read(options.results) as results:
        plan, runs = results.plan(), results.runs()
        case = next((case for case in plan.cases if case.number == options.number), None)
        if case is None:
            raise UsageError(f"{options.results} has no run {options.number}: its runs are 1 to {len(plan.cases)}")
        run = runs.get(case.number)
        files = {name: content.decode(errors="replace") for name, content in results.files(case.number).items()}
    lines = [f"run {case.number}: {in_a_line(title_of(case.values))}", f"  {in_a_line(fadump_command(*case.words))}"]
    if run is None:
        lines.append("  has not been run yet")
    else:
        where = in_a_line(run.host) or "no computer"
        lines.append(f"  {run.outcome} after {run.cost.seconds:.1f} s on {where}, {in_a_line(run.began)}")
        lines += [f"  {in_a_line(run.error)}"] if run.error else []
    for name, content in files.items():
        lines += ["", f"{in_a_line(name)}:", *(in_a_line(line) for line in content.splitlines())]
    return Answer({**_case_as_json(case, run), "files": files}, listing="\n".join(lines))


def counts_as_json(plan: Plan, runs: Mapping[int, Run]) -> dict[str, Any]:
    """What a campaign is called, and how many of its runs there are of each outcome."""
    counts = Counter(run.outcome for run in runs.values())
    return {
        "name": plan.name,
        "seed": plan.seed,
        "runs": len(plan.cases),
        "left": len(plan.cases) - len(runs),
        "outcomes": {outcome.value: counts[outcome] for outcome in Outcome if counts[outcome]},
    }


def _case_as_json(case: Planned, run: Run | None) -> dict[str, Any]:
    told = {"number": case.number, "factors": factors_as_json(case.values), "command": fadump_command(*case.words)}
    return told | ({} if run is None else _run_as_json(run))


def _run_as_json(run: Run) -> dict[str, Any]:
    return {
        "outcome": run.outcome,
        "exit_code": run.exit_code,
        "error": run.error,
        "phase": run.phase,
        "seconds": round(run.cost.seconds, 3),
        "cpu_seconds": round(run.cost.cpu_seconds, 3),
        "memory_bytes": run.cost.memory_bytes,
        "host": run.host,
        "began": run.began,
    }


def _change_as_json(change: Change) -> dict[str, Any]:
    return {
        "factors": factors_as_json(change.values),
        "before": change.before and _run_as_json(change.before),
        "after": change.after and _run_as_json(change.after),
        "command": fadump_command(*change.words),
    }


def factors_as_json(values: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """The values of a case, by their factors."""
    return {name: list(value) for name, value in values.items()}
