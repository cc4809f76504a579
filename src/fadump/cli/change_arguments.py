"""The options for memory and CPUs that come and go before the crash; they are done in the order they are given in."""

import argparse
from functools import partial

from fadump.cli.machine_arguments import dimm
from fadump.machine.hotplug import Act, Change
from fadump.memory.ranges import Range
from fadump.run.changes import parse_what

_HELP = {
    Act.PLUG: "before the crash, plug a DIMM, or the next core, by its first CPU",
    Act.UNPLUG: "then unplug a DIMM, or the last core",
    Act.OFFLINE: "then take a CPU offline; these three as often as you like, and in any order",
}


def add_change_arguments(parser: argparse.ArgumentParser) -> None:
    """--plug, --unplug and --offline, which go to ``changes``."""
    for act, text in _HELP.items():
        parser.add_argument(
            f"--{act}",
            type=partial(_change, act),
            action="append",
            dest="changes",
            default=[],
            metavar="cpuN" if act is Act.OFFLINE else "SIZE@ADDR|cpuN",
            help=text,
        )


def _change(act: Act, text: str) -> Change:
    wanted = ["cpu2"] if act is Act.OFFLINE else ["1G@4G", "cpu2"]
    what: Range | int | None
    try:
        what = parse_what(text, _memory)
    except (ValueError, argparse.ArgumentTypeError):
        what = None
    if what is None or (act is Act.OFFLINE and isinstance(what, Range)):
        raise argparse.ArgumentTypeError(f"write it as {' or '.join(wanted)}")
    return Change(act, what)


def _memory(text: str) -> Range:
    return dimm(text).range
