"""``fadump dmesg``: the crashed kernel's log, out of a dump."""

import argparse
from collections.abc import Callable
from functools import partial

from fadump.cli.dump_argument import dump_files
from fadump.cli.log_view import Style, Wanted, facilities, levels, wants_colour
from fadump.cli.numbers import since_boot
from fadump.cli.output import Answer, ExitCode, Output, Stream
from fadump.cli.parser import Commands, add_command
from fadump.cli.paths import path
from fadump.linux.log.record import LogRecord
from fadump.linux.system import UNREADABLE_KERNEL, CrashedSystem, open_system
from fadump.printable import first_of, with_others

_EXAMPLE = """example:
  fadump dmesg vmcore                      print the log as dmesg(1) does
  fadump dmesg -T --level err,warn vmcore  errors and warnings, with the time of day of each
  fadump dmesg --since-boot 86400 vmcore   what was said from the second day on
  fadump dmesg vmcore --json | jq -r '.records[] | select(.level <= 3) | .text'
"""


def add_parser(commands: Commands) -> None:
    """Add the command to the main parser."""
    parser = add_command(
        commands,
        "dmesg",
        _dmesg,
        summary="print the crashed kernel's log",
        description="Print the crashed kernel's log, out of a dump of any kind. Of an incomplete dump, what is "
        "there of the log is printed, and the exit status is 1.",
        example=_EXAMPLE,
    )
    parser.add_argument(
        "files", type=path, nargs="+", metavar="FILE", help="a dump; of a split one, all of its files; or its directory"
    )
    parser.add_argument(
        "-T", "--ctime", action="store_true",
        help="times of day, local ones as dmesg(1) has them, reckoned back from when the kernel crashed",
    )  # fmt: skip
    parser.add_argument("-l", "--level", type=levels, default=[], metavar="LIST", help="only these, as in err,warn")
    parser.add_argument(
        "-f", "--facility", type=facilities, default=[], metavar="LIST", help="only these, as in kern,daemon"
    )
    parser.add_argument(
        "--since-boot", type=since_boot, metavar="SECONDS", help="only what was said so long after boot, or later"
    )
    parser.add_argument(
        "-L", "--color", choices=("auto", "always", "never"), default="auto", metavar="WHEN",
        help="colours: auto (on a terminal, unless NO_COLOR is set), always or never",
    )  # fmt: skip


def _dmesg(options: argparse.Namespace, output: Output) -> Answer:
    records: list[LogRecord] = []
    wanted = Wanted(options.level, options.facility, options.since_boot)
    files = dump_files(options.files)
    boot_time = None
    with open_system(files) as system:
        if options.ctime:
            boot_time = system.boot_time
        style = Style(boot_time, coloured=wants_colour(options.color))
        tell = records.append if output.as_json else partial(_print, output.stream, style)
        missing = _read(system, wanted, tell)
    if options.ctime and boot_time is None:
        missing.append("the dump doesn't say when the kernel crashed: times are in seconds since boot")
    for sentence in missing:
        output.remark(sentence)
    return Answer(
        {
            "result": "incomplete" if missing else "complete",
            "complete": not missing,
            "missing": missing,
            "boot_time": boot_time,
            "records": [_as_json(record) for record in records],
        },
        exit_code=ExitCode.FAILED if missing else ExitCode.DONE,
        error=f"{with_others(files)}: {with_others(missing)}" if missing else None,
    )


def _read(system: CrashedSystem, wanted: Wanted, tell: Callable[[LogRecord], None]) -> list[str]:
    """Read all records, and tell those wanted as they are read; what is missing, as sentences."""
    missing = list(first_of(map(str, system.dump.damage)))
    without_text, any_record = 0, False
    try:
        for record in system.log():
            any_record = True
            if record in wanted:
                without_text += record.text is None
                tell(record)
    except UNREADABLE_KERNEL as error:
        missing.append(f"the log ends here: {error}" if any_record else f"no log can be read: {error}")
    if without_text:
        missing.append(f"the dump doesn't have the text of {without_text} messages")
    return missing


def _print(stream: Stream, style: Style, record: LogRecord) -> None:
    print(*style.lines(record), sep="\n", file=stream)


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
