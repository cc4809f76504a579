"""``fadump dumps``: what lies in the crash directories, when it was, which kernel, why, and whether it is whole."""

import argparse
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from fadump.cli.output import Answer, ExitCode, Output
from fadump.cli.parser import Commands, add_command
from fadump.cli.paths import path
from fadump.given import check_directory, reading
from fadump.printable import counted, in_a_line, printable
from fadump.progress import Progress, binary_size
from fadump.service.config import read_config
from fadump.service.dumps import FoundDump, find_dumps
from fadump.service.root import HOST
from fadump.service.targets.directory import DEFAULT_DIRECTORY, DirectorySettings

_EXAMPLE = """example:
  fadump dumps                     those where the service saves them, and of kdump-tools and kdump-utils there
  fadump dumps /mnt/crash --check  read each of them to its end
"""


def add_parser(commands: Commands) -> None:
    """Add the command to the main parser."""
    parser = add_command(
        commands,
        "dumps",
        _dumps,
        summary="what lies in a crash directory: when, which kernel, why, whole or not",
        description="List the dumps of a directory, whoever has saved them: fadump capture, Debian's kdump-tools, "
        "kdump-utils of RHEL and Fedora, openSUSE's kdump. Exit status 1 with --check: one of them isn't whole.",
        example=_EXAMPLE,
    )
    parser.add_argument(
        "directory", type=path, nargs="?", metavar="DIR", help="default: the directories of the configuration"
    )
    parser.add_argument("--check", action="store_true", help="read each dump to its end, and prove its checksums")


def _dumps(options: argparse.Namespace, _output: Output) -> Answer:
    directories = [options.directory] if options.directory else _configured()
    for directory in directories:
        check_directory("DIR", directory)
    found: list[FoundDump] = []
    with Progress.step("Looking at dumps") as step:
        for directory in directories:
            with reading("DIR", directory):
                for dump in find_dumps(directory, check=options.check):
                    found.append(dump)
                    step.advance()
    broken = [dump for dump in found if not dump.whole] if options.check else []
    error = f"{counted(len(broken), 'dump')} of {len(found)} not whole: {broken[0].path}" if broken else None
    return Answer(
        ({"result": "damaged"} if broken else {}) | {"dumps": [_as_json(dump) for dump in found]},
        listing=printable("\n".join(_lines(found, directories))),
        exit_code=ExitCode.FAILED if broken else ExitCode.DONE,
        error=error,
    )


def _configured() -> list[Path]:
    config = read_config(HOST.config, may_be_missing=True)
    directories = [target.path for target in config.targets if isinstance(target, DirectorySettings)]
    return [path for path in directories or [DEFAULT_DIRECTORY] if path.exists()]


def _lines(found: Sequence[FoundDump], directories: Sequence[Path]) -> list[str]:
    if not found:
        return [f"no dumps in {', '.join(map(str, directories)) or DEFAULT_DIRECTORY}"]
    return [line for dump in found for line in _text(dump)]


def _text(dump: FoundDump) -> list[str]:
    crash = dump.crash
    when = "unknown time" if crash is None or crash.time is None else _time(crash.time)
    release = (crash and crash.release) or "unknown kernel"
    state = ("whole" if dump.proven else "looks whole") if dump.whole else f"not whole: {dump.damage}"
    why = (crash and crash.cause) or "the log has no cause, or can't be read"
    lines = [f"{when}  Linux {release}  {binary_size(dump.size_bytes)}  {state}", f"  {why}", f"  {dump.path}"]
    return list(map(in_a_line, lines))


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _as_json(dump: FoundDump) -> dict[str, object]:
    crash = dump.crash
    return {
        "path": str(dump.path),
        "made_by": dump.made_by,
        "bytes": dump.size_bytes,
        "time": crash and crash.time,
        "release": crash and crash.release,
        "cause": crash and crash.cause,
        "identity": crash and crash.identity,
        "whole": dump.whole,
        "proven": dump.proven,
        "damage": dump.damage,
    }
