"""``fadump dmesg``: the crashed kernel's log, out of a dump."""

import argparse
import json
import sys

from fadump.cli.help_text import HelpFormatter
from fadump.cli.paths import path
from fadump.errors import FadumpError
from fadump.linux.log import LogRecord
from fadump.linux.system import CrashedSystem, open_system
from fadump.printable import first_of, printable

_EPILOG = """example:
  fadump dmesg vmcore                      print the log as dmesg(1) does
  fadump dmesg vmcore --json | jq -r '.records[] | select(.level <= 3) | .text'
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``dmesg``; it sets ``func``, which returns the exit status."""
    parser = subparsers.add_parser(
        "dmesg",
        help="print the crashed kernel's log",
        description="Print the crashed kernel's log, out of a dump of any kind. Of an incomplete dump, what is "
        "there of the log is printed, and the exit status is 1.",
        epilog=_EPILOG,
        formatter_class=HelpFormatter,
    )
    parser.add_argument("files", type=path, nargs="+", metavar="FILE", help="a dump; of a split one, all of its files")
    parser.add_argument("--json", action="store_true", help="print one JSON object with all records")
    parser.set_defaults(func=_dmesg)


def _dmesg(arguments: argparse.Namespace) -> int:
    records: list[LogRecord] = []
    with open_system(arguments.files) as system:
        missing = _read(system, records, as_json=arguments.json)
    if arguments.json:
        print(
            json.dumps(
                {"complete": not missing, "missing": missing, "records": [_as_json(record) for record in records]}
            )
        )
    for sentence in missing:
        print(printable(f"fadump: {sentence}"), file=sys.stderr)
    return 1 if missing else 0


def _read(system: CrashedSystem, records: list[LogRecord], *, as_json: bool) -> list[str]:
    """Read all records, and print them unless they are for JSON; what is missing, as sentences."""
    missing = list(first_of(map(str, system.dump.damage)))
    without_text, any_record = 0, False
    try:
        for record in system.log():
            any_record = True
            without_text += record.text is None
            if as_json:
                records.append(record)
            else:
                print(*record.lines(), sep="\n")
    except FadumpError as error:
        missing.append(f"the log ends here: {error}" if any_record else f"no log can be read: {error}")
    if without_text:
        missing.append(f"the dump doesn't have the text of {without_text} messages")
    return missing


def _as_json(record: LogRecord) -> dict[str, object]:
    return {
        "sequence": record.sequence,
        "timestamp_ns": record.timestamp_ns,
        "facility": record.facility,
        "level": record.level,
        "caller": record.caller,
        "subsystem": record.subsystem,
        "device": record.device,
        "text": record.text,
    }
