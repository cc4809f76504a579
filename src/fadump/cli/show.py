"""``fadump show``: what is in a dump, or in one of the structures that firmware and kernels leave for each other."""

import argparse

from rich.console import Console

from fadump.cli.dump_argument import dump_files
from fadump.cli.output import Answer, ExitCode, Output
from fadump.cli.parser import Commands, add_command
from fadump.cli.paths import path
from fadump.cli.show_json import as_json
from fadump.cli.show_structures import shown
from fadump.cli.show_view import show_summary
from fadump.errors import STDOUT, naming
from fadump.given import check_file
from fadump.linux.summary import Summary, summarize
from fadump.linux.system import open_system
from fadump.printable import with_others
from fadump.vmcore.structures import decode_file

_EXAMPLE = """example:
  fadump show vmcore                       what crashed, when and why; each CPU and its backtrace; memory
  fadump show /var/crash/202611291148      the dump in this directory
  fadump show -v vmcore                    idle CPUs and kernel threads, too, stack pointers, more of the log
  fadump show vmcore --vmlinux vmlinux     the tasks, too, of a kernel without BTF
  fadump show vmcore --json | python3 -m json.tool
                                           for programs: addresses are numbers of 64 bits, which jq before 1.7 rounds
  fadump show /proc/device-tree/rtas/ibm,kernel-dump
                                           a dump memory structure, as the firmware gives it to the kernel
"""


def add_parser(commands: Commands) -> None:
    """Add the command to the main parser."""
    parser = add_command(
        commands,
        "show",
        _show,
        summary="show what is in a dump, or in a structure of firmware or kernel",
        description="Show what is in a file, known by its content: a dump of any kind, a dump memory structure, a "
        "register save area, a crash-info header, MPIPL's and the kernel's metadata, a flattened device tree. Of an "
        "incomplete dump, what is there is shown, what is missing is named, and the exit status is 1.",
        example=_EXAMPLE,
    )
    parser.add_argument(
        "files",
        type=path,
        nargs="+",
        metavar="FILE",
        help="a file; of a split dump, all of its files; or a directory with one dump",
    )
    parser.add_argument("--vmlinux", type=path, metavar="FILE", help="the crashed kernel's vmlinux: symbols, and tasks")


def _show(options: argparse.Namespace, output: Output) -> Answer:
    files = dump_files(options.files)
    structure = decode_file(files[0]) if len(files) == 1 else None
    if structure is not None:
        found = shown(structure)
        return Answer(found.json, listing=found.text)
    if options.vmlinux is not None:
        check_file("--vmlinux", options.vmlinux)
    with open_system(files, vmlinux=options.vmlinux) as system:
        summary = summarize(system)
    for sentence in summary.missing:
        output.remark(sentence)
    return Answer(
        as_json(summary),
        listing=_rendered(summary, verbose=output.verbose),
        exit_code=ExitCode.FAILED if summary.missing else ExitCode.DONE,
        error=f"{with_others(files)}: {with_others(summary.missing)}" if summary.missing else None,
    )


def _rendered(summary: Summary, *, verbose: bool) -> str:
    console = Console(emoji=False, highlight=False, soft_wrap=True)
    with naming(STDOUT), console.capture() as text:  # its end writes to the file that it stands for
        show_summary(summary, console, verbose=verbose)
    return text.get().rstrip("\n")
