"""``fadump show``: what is in a dump, or in one of the structures that firmware and kernels leave for each other."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from fadump.capture.files import HostFiles
from fadump.capture.target import write_text
from fadump.cli.dump_argument import dump_files
from fadump.cli.output import Answer, ExitCode, Output
from fadump.cli.parser import Commands, add_command
from fadump.cli.paths import path
from fadump.cli.show_json import as_json
from fadump.cli.show_structures import shown
from fadump.cli.show_view import show_summary
from fadump.errors import STDOUT, FormatError, SetupError, UsageError, naming
from fadump.given import check_file, writing
from fadump.linux.opal import opal_image
from fadump.linux.summary import Summary, summarize
from fadump.linux.system import UNREADABLE_KERNEL, CrashedSystem, open_system
from fadump.linux.vmlinux.source_lines import FrameLines, lines_of_crash, modules_on
from fadump.printable import with_others
from fadump.vmcore.contract import Dump
from fadump.vmcore.frame_info import encode_frame_info
from fadump.vmcore.structures import decode_file
from fadump.vmcore.symbol_file import encode_symbol_file

_EXAMPLE = """example:
  fadump show vmcore                       what crashed, when and why; each CPU and its backtrace; memory
  fadump show /var/crash/202611291148      the dump in this directory
  fadump show -v vmcore                    idle CPUs and kernel threads, too, stack pointers, more of the log
  fadump show vmcore --vmlinux vmlinux     the tasks, too, of a kernel without BTF
  fadump show vmcore --json | python3 -m json.tool
                                           for programs: addresses are numbers of 64 bits, which jq before 1.7 rounds
  fadump show opalcore --write-symbols opal.elf
                                           OPAL's own core: where it ended; gdb with OPAL's symbols
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
        "register save area, a hash page table, a crash-info header, MPIPL's and the kernel's metadata, a flattened "
        "device tree. Of an incomplete dump, what is there is shown, what is missing is named, and the exit status is "
        "1.",
        example=_EXAMPLE,
    )
    parser.add_argument(
        "files",
        type=path,
        nargs="+",
        metavar="FILE",
        help="a file; of a split dump, all of its files; or a directory with one dump",
    )
    parser.add_argument(
        "--vmlinux", type=path, metavar="FILE", help="the crashed kernel's vmlinux: symbols, tasks, source lines"
    )
    parser.add_argument(
        "--write-symbols", type=path, metavar="FILE",
        help="of OPAL's core: write the symbols that OPAL lists in its memory, as an ELF file for gdb",
    )  # fmt: skip


def _show(options: argparse.Namespace, output: Output) -> Answer:
    files = dump_files(options.files)
    structure = decode_file(files[0]) if len(files) == 1 else None
    if structure is not None and options.write_symbols is None:
        found = shown(structure)
        return Answer(found.json, listing=found.text)
    if options.vmlinux is not None:
        check_file("--vmlinux", options.vmlinux)
    with open_system(files, vmlinux=options.vmlinux) as system:
        summary = summarize(system)
        lines = {} if options.vmlinux is None else _lines(system, summary, options.vmlinux, output)
        if options.write_symbols is not None:
            _write_symbols(system.dump, files, options.write_symbols)
    for sentence in summary.missing:
        output.remark(sentence)
    return Answer(
        as_json(summary, lines),
        listing=_rendered(summary, lines, verbose=output.verbose),
        exit_code=ExitCode.FAILED if summary.missing else ExitCode.DONE,
        error=f"{with_others(files)}: {with_others(summary.missing)}" if summary.missing else None,
    )


def _write_symbols(dump: Dump, files: Sequence[Path], path: Path) -> None:
    if path.exists() and any(path.samefile(file) for file in files):
        raise UsageError(f"--write-symbols {path} would overwrite the dump: give another name")
    if dump.opal_entry is None:
        raise UsageError("--write-symbols goes with OPAL's core, opalcore: of a dump of Linux, the vmlinux has them")
    image = opal_image(dump)
    if not image.symbols:
        raise FormatError("the core of an OPAL that lists no symbols in its memory, or that is cut short")
    with writing("--write-symbols", path):
        frame_info = encode_frame_info(image.symbols, image.base, image.content)
        write_text(path, encode_symbol_file(image.symbols, image.base, frame_info), HostFiles())


def _lines(system: CrashedSystem, summary: Summary, vmlinux: Path, output: Output) -> FrameLines:
    """The source lines of the crash, if the vmlinux has them, and the modules' files where they are found."""
    from fadump.cli.found_vmlinux import found_module_lines  # noqa: PLC0415 - slow to start, and rarely needed

    if not summary.cpus:
        return {}
    try:
        modules = found_module_lines(system, modules_on(summary.cpus), vmlinux)
        return lines_of_crash(summary.cpus, system.vmcoreinfo, vmlinux, modules)
    except SetupError as error:
        output.remark(str(error))
    except UNREADABLE_KERNEL:
        pass  # the summary says it
    return {}


def _rendered(summary: Summary, lines: FrameLines, *, verbose: bool) -> str:
    console = Console(emoji=False, highlight=False, soft_wrap=True)
    with naming(STDOUT), console.capture() as text:  # its end writes to the file that it stands for
        show_summary(summary, console, lines, verbose=verbose)
    return text.get().rstrip("\n")
