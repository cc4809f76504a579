"""``fadump doctor``: would a crash of this system be saved now? A verdict, findings, and what mends them."""

import argparse
from collections.abc import Iterator
from typing import Any

from fadump.cli.output import Answer, ExitCode, Output
from fadump.cli.parser import Commands, add_command
from fadump.cli.paths import path
from fadump.given import check_directory, check_file
from fadump.printable import printable
from fadump.service.doctor.examination import Examination, examine, examine_configuration
from fadump.service.doctor.files import SystemFiles
from fadump.service.doctor.findings import Finding, Severity

_EXAMPLE = """example:
  fadump doctor                              on a Power system: would a crash now be saved?
  fadump doctor --root sosreport/            of a system whose files were copied from it
  fadump doctor --config fadump.toml         only a configuration, anywhere"""
_EXIT_CODES = """exit codes, as monitoring has them:
0 a crash would be saved, and all is well
1 it would be saved, but something is wrong; kdump would save it though FADump was asked for
2 it would not be saved; also wrong usage, which prints no verdict
125 could not be tried: this is no Power system, its device tree can't be read, or the verdict can't be written
128+N ended by signal N
"""
_INDENT = " " * 4
_LEAST_SHOWN = Severity.NOTE


def add_parser(commands: Commands) -> None:
    """Add the command to the main parser."""
    parser = add_command(
        commands,
        "doctor",
        _doctor,
        summary="would a crash of this system be saved now, and if not, what mends that",
        description="Say whether a crash of this system would be saved now: by its firmware, kernel, command line, "
        "registration, boot memory, services and where they save to. Reads files only, changes nothing, and is best "
        "run by root. The verdict is the first line; what was found follows, with the command that mends it.",
        example=_EXAMPLE,
        exit_codes=_EXIT_CODES,
    )
    parser.failed_code = ExitCode.NOT_TRIED
    of = parser.add_mutually_exclusive_group()
    of.add_argument(
        "--root", type=path, metavar="DIR",
        help="where the system's files are, as copied from one: /proc and /sys with what doctor reads, /etc, /boot "
        "(default: this system's)",
    )  # fmt: skip
    of.add_argument("--config", type=path, metavar="FILE", help="check this configuration of the service and no more")


def _doctor(options: argparse.Namespace, output: Output) -> Answer:
    if options.config is not None:
        check_file("--config", options.config)
        examination = examine_configuration(options.config)
    elif options.root is not None:
        check_directory("--root", options.root)
        examination = examine(SystemFiles(options.root, is_running_system=False))
    else:
        examination = examine(SystemFiles())
    return Answer(
        _as_json(examination),
        printable("\n".join(_lines(examination, verbose=output.verbose, quiet=output.quiet))),
        exit_code=examination.severity.exit_code,
        error=_error(examination),
    )


def _error(examination: Examination) -> str | None:
    match examination.severity:
        case Severity.CRITICAL:
            return examination.verdict.sentence
        case Severity.WARNING:
            return examination.findings[0].sentence
        case _:
            return None


def _lines(examination: Examination, *, verbose: bool, quiet: bool) -> Iterator[str]:
    yield examination.verdict.sentence
    least = Severity.GOOD if verbose else Severity.WARNING if quiet else _LEAST_SHOWN
    for finding in examination.findings:
        if finding.severity >= least:
            yield from _finding_lines(finding)


def _finding_lines(finding: Finding) -> Iterator[str]:
    yield f"{finding.severity.word}: {finding.check}: {finding.sentence}"
    if finding.mend is not None:
        yield f"{_INDENT}{finding.mend}"


def _as_json(examination: Examination) -> dict[str, Any]:
    verdict = examination.verdict
    return {
        "result": verdict.outcome,
        "severity": examination.severity.word,
        "verdict": verdict.sentence,
        "service": None if verdict.saver is None else verdict.saver.name,
        "target": None if verdict.saver is None else verdict.saver.place,
        "findings": [
            {
                "check": finding.check,
                "severity": finding.severity.word,
                "text": finding.sentence,
                "mend": finding.mend,
            }
            for finding in examination.findings
        ],
    }
