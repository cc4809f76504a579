"""``fadump compare``: the model of Linux against real Linux, over many configurations."""

import argparse
import itertools
import shlex
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fadump.ci.cases import suite
from fadump.ci.junit import Case, Outcome
from fadump.ci.record import Record
from fadump.cli.ci_arguments import add_junit_argument
from fadump.cli.ci_files import check_junit, write_junit
from fadump.cli.numbers import number
from fadump.cli.output import Answer, ExitCode, Output
from fadump.cli.parser import Commands, add_command
from fadump.cli.paths import path
from fadump.compare import campaign
from fadump.compare.campaign import Judged, Result
from fadump.compare.configuration import Configuration, configurations, full_set
from fadump.compare.differences import Difference
from fadump.compare.setup import check_host, open_store, subjects
from fadump.errors import UsageError
from fadump.machine.qemu.config import DEFAULT_QEMU
from fadump.printable import counted
from fadump.progress import Progress
from fadump.run.qemu_files import qemu_to_run

_EXAMPLE = """example:
  fadump compare                      the whole set of configurations, a quarter of an hour on two processors
  fadump compare --seed 7 --only 12   the 12th configuration of this seed alone"""
_DEFAULT_SEED = "0"


def add_parser(commands: Commands) -> None:
    """Add the command to the main parser."""
    parser = add_command(
        commands,
        "compare",
        _compare,
        summary="run the model of Linux against real Linux, over many configurations",
        description="Boot real Linux in QEMU over a set of configurations that has every pair of values, crash some of "
        "them, have the model do the same, and list every difference in what they reserve, register, show and say. "
        "What has been seen of real Linux is kept in --out, so that an interrupted comparison goes on where it was.",
        example=_EXAMPLE,
    )
    parser.add_argument(
        "--seed", default=_DEFAULT_SEED, help="any text: which set of configurations (default: %(default)s)"
    )
    parser.add_argument(
        "--count", type=number(1), help="so many configurations of the set (default: all that its pairs need)"
    )
    parser.add_argument(
        "--only", type=number(1), action="append", metavar="NUMBER", help="only this one of the set, counted from 1"
    )
    parser.add_argument("--list", action="store_true", help="say what the configurations are, and run none")
    parser.add_argument("--jobs", type=number(1), default=2, help="guests at a time (default: %(default)s)")
    parser.add_argument("--qemu", default=DEFAULT_QEMU, help="which QEMU, or newest (default: %(default)s)")
    parser.add_argument(
        "--out", type=path, default=Path("fadump-compare"), help="directory for what was seen (default: %(default)s)"
    )
    add_junit_argument(parser, "configuration")


def _compare(options: argparse.Namespace, output: Output) -> Answer:
    wanted = chosen(options)
    if options.list:
        return _list(options, wanted)
    record = Record("compare", options.typed, options.out)
    if options.junit is not None:
        check_junit(options.junit)
    print(f"seed {options.seed}, {counted(len(wanted), 'configuration')}", file=output.live, flush=True)
    result = _run(options, [configuration for _number, configuration in wanted])
    if options.junit is not None:
        write_junit(options.junit, suite(record, [_case(judged) for judged in result.judged]))
    return Answer(
        _as_json(options, result),
        "\n".join(_lines(options, wanted, result)),
        exit_code=ExitCode.DONE if result.good else ExitCode.FAILED,
        error=None if result.good else _error(result),
    )


def _error(result: Result) -> str:
    differences = f"{counted(len(result.differences), 'difference')} between the model and Linux"
    if not result.failures:
        return differences
    return f"{differences}, and {counted(len(result.failures), 'configuration')} could not be compared"


def _list(options: argparse.Namespace, wanted: list[tuple[int, Configuration]]) -> Answer:
    listed = [{"number": number, "configuration": configuration.as_json()} for number, configuration in wanted]
    return Answer(
        {"seed": options.seed, "configurations": listed},
        listing="\n".join(f"{number:4} {configuration.title}" for number, configuration in wanted),
    )


def chosen(options: argparse.Namespace) -> list[tuple[int, Configuration]]:
    """The configurations to compare, with their numbers in the set.

    :raises UsageError: one isn't in it.
    """
    if options.count is None:
        found = list(full_set(options.seed))
    else:
        found = list(itertools.islice(configurations(options.seed), options.count))
    numbered = list(enumerate(found, 1))
    if beyond := [number for number in options.only or () if number > len(numbered)]:
        there_are = f"the {len(numbered)} of the set" if options.count is None else f"--count {options.count}"
        raise UsageError(f"--only {beyond[0]} is beyond {there_are}")
    return [subject for subject in numbered if not options.only or subject[0] in options.only]


def _run(options: argparse.Namespace, wanted: list[Configuration]) -> Result:
    check_host(options.jobs)
    qemu = qemu_to_run(options.qemu)
    with open_store(options.out, qemu) as store:
        ready = subjects(wanted, qemu, store)
        with Progress.step("Comparing", total=len(wanted), unit="configurations") as step:
            return campaign.run(ready, store, options.jobs, lambda _judged: step.advance())


def _lines(options: argparse.Namespace, wanted: list[tuple[int, Configuration]], result: Result) -> Iterator[str]:
    numbers = {configuration: number for number, configuration in wanted}
    for judged in result.judged:
        yield from _judged_lines(judged)
        if judged.failure or judged.compared.differences:
            number = numbers[judged.configuration]
            yield f"  again: fadump compare --seed {shlex.quote(options.seed)} --only {number}"
    yield (
        f"{counted(len(result.judged) - len(result.failures), 'configuration')} compared, "
        f"{counted(result.reservations, 'different reservation')}, {result.crashed} crashed: "
        f"{counted(len(result.differences), 'difference')}, "
        f"{len(result.explained)} explained"
    )
    for explanation, seen in result.explained.items():
        told = f"{counted(len(seen), 'time')} {explanation.name}: {explanation.reason}  [{explanation.source}]"
        yield from textwrap.wrap(told, 116, initial_indent="  ", subsequent_indent="    ")


def _judged_lines(judged: Judged) -> Iterator[str]:
    if judged.failure or judged.compared.differences:
        yield judged.configuration.title
    if judged.failure:
        yield f"  not compared: {judged.failure}"
    for difference in judged.compared.differences:
        yield f"  {difference.moment}, {difference.question}"
        yield from (f"    Linux: {line}" for line in difference.linux)
        yield from (f"    model: {line}" for line in difference.model)


def _case(judged: Judged) -> Case:
    title = judged.configuration.title
    if judged.failure:
        return Case(title, judged.seconds, Outcome.ERROR, judged.failure, kind="not compared")
    if judged.compared.differences:
        text = "\n".join(line.removeprefix("  ") for line in [*_judged_lines(judged)][1:])
        return Case(title, judged.seconds, Outcome.FAILED, text, kind="different")
    return Case(title, judged.seconds)


def _as_json(options: argparse.Namespace, result: Result) -> dict[str, Any]:
    return {
        "result": "same" if result.good else "different",
        "seed": options.seed,
        "configurations": len(result.judged) - len(result.failures),
        "reservations": result.reservations,
        "crashed": result.crashed,
        "differences": [_difference_as_json(difference) for difference in result.differences],
        "explained": [
            {
                "explanation": why.name,
                "reason": why.reason,
                "source": why.source,
                "times": len(seen),
                "differences": [_difference_as_json(difference) for difference in seen],
            }
            for why, seen in result.explained.items()
        ],
        "not_compared": [
            {"configuration": failed.configuration.as_json(), "reason": failed.failure} for failed in result.failures
        ],
    }


def _difference_as_json(difference: Difference) -> dict[str, Any]:
    return {
        "configuration": difference.configuration.as_json(),
        "moment": difference.moment,
        "question": difference.question,
        "linux": list(difference.linux),
        "model": list(difference.model),
    }
