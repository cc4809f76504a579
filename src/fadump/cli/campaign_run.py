"""``fadump campaign run``. A module of its own, as ``run`` and ``rehearse`` are slow to start."""

import argparse
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from fadump.campaign.campaign import run_campaign
from fadump.campaign.commands import check, prepare
from fadump.campaign.job import Job
from fadump.campaign.matrix import Case, Matrix, read_matrix
from fadump.campaign.outcome import Outcome, Run
from fadump.campaign.pool import LocalPool, Pool
from fadump.campaign.results import Plan, Results
from fadump.campaign.told import counts_text
from fadump.cli.campaign import counts_as_json, factors_as_json
from fadump.cli.campaign_checks import CommandChecks
from fadump.cli.campaign_view import CampaignView
from fadump.cli.output import Answer, ExitCode, Output
from fadump.cli.typed import fadump_command
from fadump.errors import SetupError, UsageError
from fadump.printable import counted, in_a_line
from fadump.progress import Step, is_terminal, moving

_SUFFIX = ".results"


def run(options: argparse.Namespace, output: Output) -> Answer:
    """Run what isn't in the results yet, or say what would be run."""
    checks = CommandChecks()
    choosing = Step("the runs are chosen and checked", unit="runs")
    with moving(choosing):
        matrix = read_matrix(options.file, checks.names, options.seed)
        cases = _cases(options.file, matrix)
        memory_bytes = check(matrix, cases, checks, lambda done: choosing.update(done, total=len(cases)))
    if options.list:
        return _listed(matrix, cases)
    path = options.results or Path(f"{matrix.name}{_SUFFIX}")
    preparing = Step("the files that the runs need are read")
    with moving(preparing):
        ready = prepare(matrix, cases, memory_bytes)
    with Results.create(path, ready.plan) as results, _pool(options, ready.jobs, output) as pool:
        before = results.runs()
        left = [job for job in ready.jobs if job.number not in before or not before[job.number].outcome.is_final]
        titles = {case.number: case.title for case in cases}
        kept = {number: run for number, run in before.items() if run.outcome.is_final}
        view, around = _view({job.number: titles[job.number] for job in left}, kept, output)
        print(_beginning(matrix, cases, kept, path), file=output.live, flush=True)
        with around:
            runs = run_campaign(ready.jobs, results, pool, view)
    return _ended(ready.plan, runs, path)


def _cases(path: Path, matrix: Matrix) -> list[Case]:
    try:
        return matrix.cases()
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error


def _beginning(matrix: Matrix, cases: Sequence[Case], kept: Mapping[int, Run], path: Path) -> str:
    there = f", {len(kept):,} of them are in {in_a_line(str(path))}" if kept else ""
    name, seed = in_a_line(matrix.name), in_a_line(matrix.seed)
    return f"campaign {name}, seed {seed}: {counted(len(cases), 'run')}{there}"


def _view(
    titles: Mapping[int, str], kept: Mapping[int, Run], output: Output
) -> tuple[CampaignView, AbstractContextManager[None]]:
    if output.quiet or not is_terminal(sys.stderr):
        return CampaignView(titles, kept, output.look()), nullcontext()
    from fadump.cli.campaign_table import MovingView  # noqa: PLC0415 - rich is slow to start

    view = MovingView(titles, kept, output.look())
    return view, view.shown(sys.stderr)


def _pool(options: argparse.Namespace, jobs: Sequence[Job], output: Output) -> Pool:
    if options.scheduler is None:
        return LocalPool(options.jobs)
    try:
        from fadump.campaign.cluster import ClusterPool  # noqa: PLC0415 - an optional package, and slow to start
    except ModuleNotFoundError as error:
        raise SetupError(f"--scheduler needs the Python package {error.name}: install fadump[campaign]") from error
    return ClusterPool(options.scheduler, jobs, output.remark)


def _listed(matrix: Matrix, cases: Sequence[Case]) -> Answer:
    return Answer(
        {
            "name": matrix.name,
            "seed": matrix.seed,
            "runs": [{"number": case.number, "factors": factors_as_json(case.values)} for case in cases],
        },
        listing="\n".join(f"{case.number:5} {in_a_line(case.title)}" for case in cases),
    )


def _ended(plan: Plan, runs: Mapping[int, Run], path: Path) -> Answer:
    counts = Counter(run.outcome for run in runs.values())
    failed = sum(count for outcome, count in counts.items() if not outcome.is_good and outcome.is_final)
    not_tried = counts[Outcome.NOT_TRIED]
    code, error = ExitCode.DONE, None
    if failed:
        code, error = ExitCode.FAILED, f"{failed:,} of {counted(len(runs), 'run')} failed"
    elif not_tried:
        first = next(run for run in runs.values() if run.outcome is Outcome.NOT_TRIED)
        code, error = ExitCode.NOT_TRIED, f"{counted(not_tried, 'run')} could not be tried: {first.error}"
    text = f"{counts_text(plan, runs)}\n" + f"look at it:  {fadump_command('campaign', 'report', path)}"
    return Answer(
        {
            "result": "failed" if failed else "not-tried" if not_tried else "done",
            **counts_as_json(plan, runs),
            "results": str(path),
        },
        text=in_a_line(error) + "\n" + text if not_tried and not failed and error else text,
        exit_code=code,
        error=error,
    )
