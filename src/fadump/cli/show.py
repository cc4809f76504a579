"""``fadump show``: what is in a dump, or in one of the structures that firmware and kernels leave for each other."""

import argparse
import json
import sys

from rich.console import Console

from fadump.cli import show_structures
from fadump.cli.help_text import HelpFormatter
from fadump.cli.paths import path
from fadump.cli.show_json import as_json
from fadump.cli.show_view import show_summary
from fadump.linux.summary import summarize
from fadump.linux.system import open_system
from fadump.printable import printable

_EPILOG = """example:
  fadump show vmcore                       what crashed, when and why; each CPU and its backtrace; memory
  fadump show vmcore --vmlinux vmlinux     the tasks, too, if it has debug information
  fadump show vmcore --json | python3 -m json.tool
                                           for programs: addresses are numbers of 64 bits, which jq before 1.7 rounds
  fadump show /proc/device-tree/rtas/ibm,kernel-dump
                                           a dump memory structure, as the firmware gives it to the kernel
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``show``; it sets ``func``, which returns the exit status."""
    parser = subparsers.add_parser(
        "show",
        help="show what is in a dump, or in a structure of firmware or kernel",
        description="Show what is in a file, known by its content: a dump of any kind, a dump memory structure, a "
        "register save area, a crash-info header, MPIPL's and the kernel's metadata, a flattened device tree. Of an "
        "incomplete dump, what is there is shown, what is missing is named, and the exit status is 1.",
        epilog=_EPILOG,
        formatter_class=HelpFormatter,
    )
    parser.add_argument("files", type=path, nargs="+", metavar="FILE", help="a file; of a split dump, all of its files")
    parser.add_argument("--vmlinux", type=path, metavar="FILE", help="the crashed kernel's vmlinux: symbols, and tasks")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(func=_show)


def _show(arguments: argparse.Namespace) -> int:
    structure = show_structures.read(arguments.files[0]) if len(arguments.files) == 1 else None
    if structure is not None:
        print(json.dumps(structure.json) if arguments.json else structure.text)
        return 0
    with open_system(arguments.files, vmlinux=arguments.vmlinux) as system:
        summary = summarize(system)
    if arguments.json:
        print(json.dumps(as_json(summary)))
    else:
        show_summary(summary, _Console(highlight=False, soft_wrap=True))
    for sentence in summary.missing:
        print(printable(f"fadump: {sentence}"), file=sys.stderr)
    return 1 if summary.missing else 0


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Tell whoever prints, as print() does; rich would end the process with a status of its own."""
        raise BrokenPipeError
