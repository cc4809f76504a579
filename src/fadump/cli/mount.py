"""``fadump mount``: the embedded machine as a tree of files."""

import argparse
import json
import os
import sys
from pathlib import Path

from fadump.cli.machine_arguments import add_machine_arguments, listed_faults, machine_choices
from fadump.cli.run_view import RunView
from fadump.mount import mount
from fadump.options import RunOptions, WhichMachine

_EXAMPLE = """example:
  fadump mount /mnt &
  echo c >/mnt/proc/sysrq-trigger      crashes it; the write ends in the capture boot
  fadump show /mnt/proc/vmcore
  echo 1 >/mnt/sys/kernel/fadump/release_mem
  fusermount3 -u /mnt                  ends it, as Ctrl-C does"""


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the main parser."""
    parser = commands.add_parser(
        "mount",
        help="a machine with FADump as a tree of files: /sys/kernel/fadump, /proc/vmcore, /proc/sysrq-trigger",
        description="Mount the files of a machine with FADump, which runs a model of Linux. They are Linux's in "
        "content, modes and errors. The machine lives until it is unmounted, or this command ends.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("directory", type=Path, metavar="DIR", help="where to mount it, an existing directory")
    add_machine_arguments(parser)
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object on stdout when it is mounted, text on stderr"
    )
    parser.set_defaults(func=_mount)


def _mount(options: argparse.Namespace) -> int:
    if listed_faults(options):
        return 0
    text = sys.stderr if options.json else sys.stdout

    def mounted() -> None:
        if options.json:
            print(
                json.dumps({"result": "mounted", "directory": str(options.directory), "pid": os.getpid()}), flush=True
            )
        else:
            print(
                f"mounted at {options.directory}; to end it: fusermount3 -u {options.directory}, or Ctrl-C", flush=True
            )

    mount(
        embedded_options(options),
        options.directory,
        RunView(text),
        on_mounted=mounted,
        on_failure=lambda sentence: print(f"fadump: {sentence}", file=sys.stderr, flush=True),
    )
    return 0


def embedded_options(options: argparse.Namespace) -> RunOptions:
    """The embedded machine that is asked for, whose files go nowhere."""
    return RunOptions(out=Path(), machine=WhichMachine.EMBEDDED, **machine_choices(options))
