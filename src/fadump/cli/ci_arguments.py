"""The options of commands that a CI runs: JUnit's XML, and a directory of what is left, with an index."""

import argparse
from collections.abc import Callable
from pathlib import Path

from fadump.ci.record import Record
from fadump.cli.output import Answer, Output
from fadump.cli.paths import path
from fadump.errors import UsageError


def add_junit_argument(parser: argparse.ArgumentParser, cases: str) -> None:
    """JUnit's XML; ``cases`` says what one of its cases is."""
    parser.add_argument(
        "--junit", type=path, metavar="FILE", help=f"write JUnit's XML, too, with a case for each {cases}"
    )


def add_ci_arguments(parser: argparse.ArgumentParser) -> None:
    """JUnit's XML, and a directory of artifacts."""
    add_junit_argument(parser, "milestone and each proof")
    parser.add_argument(
        "--artifacts", type=path, metavar="DIR",
        help="gather logs, the crashed kernel's log and the JSON object there, with an index.html, to be uploaded",
    )  # fmt: skip
    parser.add_argument(
        "--with-dump", action="store_true", help="put the dump into --artifacts as well: it has what was in memory"
    )


def recorded(options: argparse.Namespace, output: Output, out: Path, work: Callable[[Record], Answer]) -> Answer:
    """Do the work of a command whose files are in ``out``, and write what these options ask for, however it ends.

    Wrong usage is only told: nothing was tried, and a CI's job is to be repaired.
    """
    variant = ".".join(str(value) for name, value in vars(options).items() if name in ("machine", "platform"))
    record = Record(options.parser.prog.removeprefix("fadump "), options.typed, out, variant)
    if options.with_dump and options.artifacts is None:
        raise UsageError("--with-dump goes with --artifacts DIR")
    if options.junit is None and options.artifacts is None:
        return work(record)
    from fadump.cli.ci_files import recorded_in_files  # noqa: PLC0415 - slow, and for --junit and --artifacts alone

    return recorded_in_files(options, output, record, work)
