"""``fadump save``: filter, compress and save a dump so that nothing is lost."""

import argparse
import json
import os
import sys
from pathlib import Path

from fadump.capture.packers import Compression
from fadump.capture.save import Saved, SaveOptions, save_dump
from fadump.errors import FadumpError
from fadump.linux.pages import DumpLevel
from fadump.progress import Progress, binary_size
from fadump.vmcore.dump import open_dump

_MOST_LEVEL = 31
_EPILOG = """example:
  fadump save /proc/vmcore /var/crash/vmcore --level 31     without zeros, cache, user and free pages
  fadump save vmcore small --level 1,31 --compress zstd     level 31 if the disk can't hold level 1
  fadump save part-1 part-2 whole                           join the files of a split dump
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``save``; it sets ``func``, which returns the exit status."""
    parser = subparsers.add_parser(
        "save",
        help="filter, compress and save a dump durably; convert one",
        description="Save a dump of any kind as a kdump-compressed file. Until all of it is on the disk it is called "
        "DST.incomplete and says in its header that it is incomplete. The crashed kernel's log is saved first, as "
        "DST-dmesg.txt. Exit status 0: saved; 1: not, or the source itself is incomplete.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", nargs="+", metavar="SRC", help="a dump; of a split one, all of its files")
    parser.add_argument("destination", type=Path, metavar="DST", help="where it goes; must not be there yet")
    parser.add_argument(
        "--level",
        type=_levels,
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
    parser.add_argument("--threads", type=_threads, default=_cpus(), metavar="N", help="that pack (default: CPUs)")
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout, text on stderr")
    parser.set_defaults(func=_save)


def _save(arguments: argparse.Namespace) -> int:
    options = SaveOptions(arguments.level, arguments.compress, arguments.threads)
    try:
        with open_dump(arguments.source) as dump:
            if dump.faults:
                print(f"fadump: the source is not whole: {dump.faults[0]}", file=sys.stderr)
            with Progress.step(f"Saving {arguments.destination}", unit="bytes") as step:
                saved = save_dump(
                    dump, arguments.destination, options, tell=lambda done, total: step.update(done, total=total)
                )
    except FadumpError as error:
        if arguments.json:
            print(json.dumps({"result": "failed", "error": str(error)}))
        raise
    print(_text(saved), file=sys.stderr if arguments.json else sys.stdout)
    if arguments.json:
        print(json.dumps(_as_json(saved)))
    return 0 if saved.complete else 1


def _text(saved: Saved) -> str:
    lines = [saved.pages.text(), ""]
    lines += [f"remark: {remark}" for remark in saved.remarks]
    if not saved.complete:
        lines.append("the source is incomplete, and so is what was saved; it says so")
    lines.append(f"{', '.join(map(str, saved.files))}: {binary_size(saved.size_bytes)}, level {int(saved.level)}")
    return "\n".join(lines)


def _as_json(saved: Saved) -> dict[str, object]:
    return {
        "result": "saved" if saved.complete else "incomplete",
        "files": [str(path) for path in saved.files],
        "bytes": saved.size_bytes,
        "dmesg": None if saved.dmesg is None else str(saved.dmesg),
        "level": int(saved.level),
        "pages": saved.pages.as_json(),
        "remarks": list(saved.remarks),
    }


def _levels(text: str) -> list[DumpLevel]:
    try:
        numbers = [int(number) for number in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers") from None
    if any(not 0 <= number <= _MOST_LEVEL for number in numbers):
        raise argparse.ArgumentTypeError(f"a level is 0 to {_MOST_LEVEL}")
    return [DumpLevel(number) for number in numbers]


def _threads(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


def _cpus() -> int:
    return len(os.sched_getaffinity(0))
