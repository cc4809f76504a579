"""``fadump compare``: the model of Linux against real Linux, over many configurations."""

import argparse
import itertools
import json
import shlex
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from fadump.cli.help_text import HelpFormatter
from fadump.cli.paths import path
from fadump.compare import campaign
from fadump.compare.campaign import Judged, Result
from fadump.compare.configuration import Configuration, configurations, full_set
from fadump.compare.differences import Difference
from fadump.compare.setup import check_host, open_store, subjects
from fadump.errors import SetupError
from fadump.machine.qemu.process import DEFAULT_QEMU
from fadump.progress import Progress

_EXAMPLE = """example:
  fadump compare                      the whole set of configurations, ten minutes on two processors
  fadump compare --seed 7 --only 12   the 12th configuration of this seed alone"""
_DEFAULT_SEED = "0"


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the main parser."""
    parser = commands.add_parser(
        "compare",
        help="run the model of Linux against real Linux, over many configurations",
        description="Boot real Linux in QEMU over a set of configurations that has every pair of values, crash some of "
        "them, have the model do the same, and list every difference in what they reserve, register, show and say. "
        "What has been seen of real Linux is kept in --out, so that an interrupted comparison goes on where it was.",
        epilog=_EXAMPLE,
        formatter_class=HelpFormatter,
    )
    parser.add_argument(
        "--seed", default=_DEFAULT_SEED, help="any text: which set of configurations (default: %(default)s)"
    )
    parser.add_argument(
        "--count", type=_positive, help="so many configurations of the set (default: all that its pairs need)"
    )
    parser.add_argument(
        "--only", type=_positive, action="append", metavar="NUMBER", help="only this one of the set, counted from 1"
    )
    parser.add_argument("--list", action="store_true", help="say what the configurations are, and run none")
    parser.add_argument("--jobs", type=_positive, default=2, help="guests at a time (default: %(default)s)")
    parser.add_argument("--qemu", default=DEFAULT_QEMU, help="the QEMU to run (default: %(default)s)")
    parser.add_argument(
        "--out", type=path, default=Path("fadump-compare"), help="directory for what was seen (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout, text on stderr")
    parser.set_defaults(func=_compare)


def _compare(options: argparse.Namespace) -> int:
    out = sys.stderr if options.json else sys.stdout
    wanted = _wanted(options)
    if options.list:
        _list(options, wanted)
        return 0
    print(f"seed {options.seed}, {len(wanted)} configurations", file=out, flush=True)
    result = _run(options, [configuration for _number, configuration in wanted])
    _tell(options, wanted, result, out)
    if options.json:
        print(json.dumps(_as_json(options, result)))
    return 0 if result.good else 1


def _list(options: argparse.Namespace, wanted: list[tuple[int, Configuration]]) -> None:
    if options.json:
        listed = [{"number": number, "configuration": configuration.as_json()} for number, configuration in wanted]
        print(json.dumps({"seed": options.seed, "configurations": listed}))
        return
    for number, configuration in wanted:
        print(f"{number:4} {configuration.title}")


def _wanted(options: argparse.Namespace) -> list[tuple[int, Configuration]]:
    """The configurations, with their numbers in the set."""
    if options.count is None and not options.only:
        found = full_set(options.seed)
    else:
        found = list(itertools.islice(configurations(options.seed), options.count or max(options.only)))
    numbered = list(enumerate(found, 1))
    if beyond := [number for number in options.only or () if number > len(numbered)]:
        raise SetupError(f"--only {beyond[0]} is beyond --count {options.count}")
    return [subject for subject in numbered if not options.only or subject[0] in options.only]


def _run(options: argparse.Namespace, wanted: list[Configuration]) -> Result:
    check_host(options.jobs)
    with open_store(options.out, options.qemu) as store:
        ready = subjects(wanted, options.qemu, store)
        with Progress.step("Comparing", total=len(wanted), unit="configurations") as step:
            return campaign.run(ready, store, options.jobs, lambda _judged: step.advance())


def _tell(options: argparse.Namespace, wanted: list[tuple[int, Configuration]], result: Result, out: TextIO) -> None:
    numbers = {configuration: number for number, configuration in wanted}
    for judged in result.judged:
        for line in _lines(judged):
            print(line, file=out)
        if judged.failure or judged.compared.differences:
            number = numbers[judged.configuration]
            print(f"  again: fadump compare --seed {shlex.quote(options.seed)} --only {number}", file=out)
    print(
        f"{len(result.judged) - len(result.failures)} configurations compared, {result.reservations} different "
        f"reservations, {result.crashed} crashed: {len(result.differences)} differences, "
        f"{len(result.explained)} explained",
        file=out,
    )
    for explanation, seen in result.explained.items():
        told = f"{len(seen)} times {explanation.name}: {explanation.reason}  [{explanation.source}]"
        print("\n".join(textwrap.wrap(told, 116, initial_indent="  ", subsequent_indent="    ")), file=out)


def _lines(judged: Judged) -> Iterator[str]:
    if judged.failure or judged.compared.differences:
        yield judged.configuration.title
    if judged.failure:
        yield f"  not compared: {judged.failure}"
    for difference in judged.compared.differences:
        yield f"  {difference.moment}, {difference.question}"
        yield from (f"    Linux: {line}" for line in difference.linux)
        yield from (f"    model: {line}" for line in difference.model)


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


def _positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 on")
    return int(text)
