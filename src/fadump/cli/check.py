"""``fadump check``: whether a dump is whole, and what is wrong with it."""

import argparse
from pathlib import Path
from typing import Any

from fadump.cli.output import Answer, ExitCode, Output
from fadump.cli.parser import Commands, add_command
from fadump.cli.paths import path
from fadump.printable import counted, printable, with_others
from fadump.progress import Progress, binary_size
from fadump.vmcore.check import CheckReport, Weight, check_dump, work_bytes
from fadump.vmcore.contract import READABLE, Dump, Kind, State
from fadump.vmcore.dump import open_dump

_EXAMPLE = """example:
  fadump check vmcore                   every byte of it can be read, and nothing contradicts the rest
  fadump check part-1 part-2 part-3     the files of a dump that makedumpfile --split wrote
"""
_KINDS = {Kind.ELF: "ELF core", Kind.KDUMP: "kdump-compressed"}
_SHOWN = {
    State.STORED: "in the file",
    State.ZEROS: "zeros or left out",
    State.EXCLUDED: "excluded",
    State.MISSING: "missing",
}


def add_parser(commands: Commands) -> None:
    """Add the command to the main parser."""
    parser = add_command(
        commands,
        "check",
        _check,
        summary="is a dump whole, is it consistent, can every page be read",
        description="Look at all of a dump, ELF or kdump-compressed, flattened or split: headers, notes, "
        "VMCOREINFO and every page. Exit status 0: it is whole; 1: it isn't, and what is wrong has been said.",
        example=_EXAMPLE,
    )
    parser.add_argument("file", type=path, nargs="+", metavar="FILE", help="the dump; of a split one, all its files")


def _check(options: argparse.Namespace, _output: Output) -> Answer:
    with open_dump(options.file) as dump:
        with Progress.step(f"Checking {options.file[0]}", unit="bytes") as step:
            step.update(0, total=work_bytes(dump))
            report = check_dump(dump, advance=step.advance)
        return Answer(
            _as_json(options.file, dump, report),
            printable(_text(dump, report)),
            exit_code=ExitCode.DONE if report.whole else ExitCode.FAILED,
            error=None if report.whole else _error(options.file, report),
        )


def _error(files: list[Path], report: CheckReport) -> str:
    damage = [finding.text for finding in report.findings if finding.weight is Weight.DAMAGE]
    return f"{with_others(files)}: not whole: {with_others(damage)}"


def _text(dump: Dump, report: CheckReport) -> str:
    what = "" if dump.opal_entry is None else " of OPAL itself"
    flattened = ", flattened" if dump.flattened else ""
    lines = [f"{_KINDS[dump.kind]}{what}{flattened}, {dump.machine}, registers of {counted(report.cpus, 'CPU')}"]
    lines += [f"  {_SHOWN[state]:18} {binary_size(size)}" for state, size in report.sizes.items() if size]
    lines += [f"{finding.weight}: {finding.text}" for finding in report.findings]
    usable = max(0, sum(report.sizes[state] for state in READABLE) - report.unreadable_bytes)
    if report.whole:
        lines.append("whole")
    elif usable:
        lines.append(f"not whole; {binary_size(usable)} of {binary_size(dump.memory.size_bytes)} can be looked at")
    else:
        lines.append("not whole, and no memory in it can be read")
    return "\n".join(lines)


def _as_json(files: list[Path], dump: Dump, report: CheckReport) -> dict[str, Any]:
    return {
        "result": "whole" if report.whole else "damaged",
        "files": [str(file) for file in files],
        "kind": dump.kind,
        "flattened": dump.flattened,
        "machine": dump.machine,
        "byte_order": dump.byte_order,
        "cpus": report.cpus,
        "memory_bytes": dump.memory.size_bytes,
        **{f"{state}_bytes": size for state, size in report.sizes.items()},
        "unreadable_bytes": report.unreadable_bytes,
        "findings": [{"weight": finding.weight, "text": finding.text} for finding in report.findings],
    }
