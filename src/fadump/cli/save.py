"""``fadump save``: filter, compress and save a dump so that nothing is lost; convert one."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fadump.capture.destination import Destination, listed
from fadump.capture.estimate import Estimate, estimate_sizes
from fadump.capture.job import Tell
from fadump.capture.options import Format, SaveOptions
from fadump.capture.packers import Compression
from fadump.capture.plugins import Plugin, load_plugin
from fadump.capture.save import Saved, save_dump, stream_dump
from fadump.cli.numbers import number
from fadump.cli.output import Answer, ExitCode, Output
from fadump.cli.parser import Commands, add_command
from fadump.cli.paths import name, path
from fadump.cli.save_arguments import cpus, levels, saved_as_json
from fadump.errors import UsageError
from fadump.given import check_file
from fadump.linux.pages.page_class import DumpLevel
from fadump.linux.system import CrashedSystem, open_system
from fadump.printable import with_others
from fadump.progress import Progress, Step, binary_size

if TYPE_CHECKING:
    from fadump.capture.erase.erased import Erased

_STDOUT = "-"
_INCOMPLETE = "the source is incomplete, and so is what was saved; it says so"
_EXAMPLE = """example:
  fadump save /proc/vmcore /var/crash/vmcore --level 31     without zeros, cache, user and free pages
  fadump save vmcore small --level 1,31 --compress zstd     level 31 if the disk can't hold level 1
  fadump save vmcore - --level 31 | ssh host 'umask 077; cat > vmcore.flat'
  fadump save vmcore.flat vmcore.elf --format elf           convert; of any kind, from any machine
  fadump save part-1 part-2 whole                           join the files of a split dump
"""


def add_parser(commands: Commands) -> None:
    """Add the command to the main parser."""
    parser = add_command(
        commands,
        "save",
        _save,
        summary="filter, compress and save a dump durably; convert one",
        description="Save a dump of any kind. Until all of it is on the disk it is called DST.incomplete and says in "
        "its headers that it is incomplete. The crashed kernel's log is saved first, as DST-dmesg.txt. Exit status 0: "
        "saved; 1: not, or the source itself is incomplete.",
        example=_EXAMPLE,
    )
    parser.add_argument("source", type=name, nargs="+", metavar="SRC", help="a dump; of a split one, all of its files")
    parser.add_argument(
        "destination", type=name, metavar="DST", help="where it goes, not there yet; -: flattened to stdout"
    )
    parser.add_argument(
        "--level",
        type=levels,
        default=[DumpLevel(0)],
        metavar="N[,N...]",
        help="what to leave out, makedumpfile's -d: 1 pages of zeros, 2 cache, 4 cache and private cache, 8 users' "
        "memory, 16 free pages, or their sum; more than one: the next one if the disk gets full (default: 0)",
    )
    parser.add_argument(
        "--compress",
        type=Compression,
        choices=list(Compression),
        default=Compression.ZLIB,
        help="how pages are packed (default: zlib)",
    )
    parser.add_argument(
        "--format", type=Format, choices=list(Format), default=Format.KDUMP, help="what is written (default: kdump)"
    )
    parser.add_argument("--threads", type=number(1), default=cpus(), metavar="N", help="that pack (default: CPUs)")
    parser.add_argument(
        "--split", type=number(1), default=1, metavar="N", help="write N files DST.1 and so on, with as many pages each"
    )
    parser.add_argument("--no-registers", action="store_true", help="don't add registers where drgn and crash look")
    parser.add_argument(
        "--vmlinux",
        type=path,
        metavar="FILE",
        help="the crashed kernel's vmlinux, for registers where it lists no symbols, and for --erase its types",
    )
    parser.add_argument(
        "--erase",
        type=path,
        metavar="RULES",
        help="overwrite what the rules in this file lead to, such as keys, and say in the dump that it was; "
        "docs/erase.md has every rule",
    )
    for option, which in (("--only", "left in"), ("--drop", "left out")):
        parser.add_argument(
            option,
            type=name,
            metavar="FILE.py:FUNCTION",
            help=f"a Python function that says which of the pages that the level leaves in are {which}; docs/erase.md",
        )
    parser.add_argument("--dry-run", action="store_true", help="write nothing, say how large it would be")
    parser.add_argument(
        "--continue", dest="continued", action="store_true", help="go on with DST.incomplete, with the same options"
    )


def _save(arguments: argparse.Namespace, output: Output) -> Answer:
    _refuse_contradictions(arguments)
    options = SaveOptions(
        levels=arguments.level,
        compression=arguments.compress,
        format=arguments.format,
        threads=arguments.threads,
        split=arguments.split,
        continued=arguments.continued,
        registers=not arguments.no_registers,
        plugins=_plugins(arguments),
    )
    if arguments.vmlinux is not None:
        check_file("--vmlinux", arguments.vmlinux)
    erase = _eraser(arguments.erase)
    with open_system(arguments.source, vmlinux=arguments.vmlinux) as opened:
        if opened.dump.damage:
            output.remark(f"the source is not whole: {opened.dump.damage[0]}")
        system, erased = erase(opened)
        if arguments.dry_run:
            return _estimated(estimate_sizes(system, options))
        saved = _run(system, arguments.source, arguments.destination, options, output)
    exit_code = ExitCode.DONE if saved.complete else ExitCode.FAILED
    if not saved.files:
        output.aside(_text(saved, erased))
        return Answer(exit_code=exit_code)
    return Answer(
        saved_as_json(saved)
        | {"registers_added": list(saved.registers.cpus), "erased": [one.as_json() for one in erased]},
        _text(saved, erased),
        exit_code=exit_code,
        error=None if saved.complete else f"{with_others(arguments.source)}: {_INCOMPLETE}",
    )


def _eraser(path: Path | None) -> Callable[[CrashedSystem], tuple[CrashedSystem, Sequence["Erased"]]]:
    """What overwrites in a system what the rules in a file name; they are read here."""
    if path is None:
        return lambda system: (system, ())
    from fadump.capture.erase.erased import erase  # noqa: PLC0415 - slow to start, and few want it
    from fadump.capture.erase.rules import read_rules  # noqa: PLC0415 - as above

    rules = read_rules(path)
    return lambda system: erase(system, rules) if rules else (system, ())


def _plugins(arguments: argparse.Namespace) -> Sequence[Plugin]:
    given = ((arguments.only, False), (arguments.drop, True))
    return [load_plugin(text, drops=drops) for text, drops in given if text is not None]


def _refuse_contradictions(arguments: argparse.Namespace) -> None:
    if arguments.destination == _STDOUT:
        if sys.stdout.isatty() and not arguments.dry_run:
            raise UsageError("stdout is a terminal: send the stream to a file or a command")
        alone = {"--split": arguments.split > 1, "--continue": arguments.continued, "--json": arguments.json}
        alone["more than one --level"] = len(arguments.level) > 1
        for option, given in alone.items():
            if given and not arguments.dry_run:
                raise UsageError(f"{option} doesn't go with a stream to stdout")


def _run(system: CrashedSystem, sources: Sequence[str], name: str, options: SaveOptions, output: Output) -> Saved:
    if name == _STDOUT:
        with Progress.step("Saving", unit="bytes") as step:
            return stream_dump(system, sys.stdout.fileno(), options, tell=_shown_by(step), say=output.remark)
    destination = Destination.take(Path(name), options, sources)
    with Progress.step(f"Saving {name}", unit="bytes") as step:
        try:
            return save_dump(system, destination, options, tell=_shown_by(step), say=output.remark)
        except KeyboardInterrupt:
            _say_what_is_left(destination, output)
            raise


def _shown_by(step: Step) -> Tell:
    return lambda done, total: step.update(done, total=total)


def _say_what_is_left(destination: Destination, output: Output) -> None:
    left = destination.begun()
    if left:
        names = listed(left)
        output.remark(f"ended before all was saved: go on from {names} with --continue, or remove it")


def _estimated(estimates: Sequence[Estimate]) -> Answer:
    return Answer(
        {"result": "estimated", "estimates": [_estimate_json(estimate) for estimate in estimates]},
        "\n".join(map(_estimate_text, estimates)),
    )


def _estimate_text(estimate: Estimate) -> str:
    margin = f", give or take {binary_size(estimate.margin_bytes)}" if estimate.margin_bytes else ""
    lines = [estimate.pages.text(), "", *(f"remark: {remark}" for remark in estimate.remarks)]
    return "\n".join([*lines, f"level {int(estimate.level)}: about {binary_size(estimate.size_bytes)}{margin}"])


def _estimate_json(estimate: Estimate) -> dict[str, object]:
    return {
        "level": int(estimate.level),
        "bytes": estimate.size_bytes,
        "margin_bytes": estimate.margin_bytes,
        "pages": estimate.pages.as_json(),
        "remarks": list(estimate.remarks),
    }


def _text(saved: Saved, erased: Sequence["Erased"]) -> str:
    added = saved.registers
    lines = [saved.pages.text(), ""]
    if saved.kept_bytes:
        lines.append(f"{binary_size(saved.kept_bytes)} of memory were there already, and right")
    if added.cpus:
        lines.append(f"registers added for drgn and crash: CPUs {', '.join(map(str, added.cpus))}")
    if added.why_not is not None:
        lines.append(f"remark: no registers were added for drgn and crash: {added.why_not}")
    lines += [sentence for one in erased for sentence in one.sentences()]
    lines += [f"remark: {remark}" for remark in saved.remarks]
    if not saved.complete:
        lines.append(_INCOMPLETE)
    names = listed(saved.files) or "stream"
    lines.append(f"{names}: {binary_size(saved.size_bytes)}, level {int(saved.level)}")
    return "\n".join(lines)
