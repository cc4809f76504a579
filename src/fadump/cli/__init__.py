"""The ``fadump`` command. One module per command: it parses, calls, and returns its answer, which is printed here.

Only the module of the command that is wanted is imported: all of them take longer than many a command.
"""

import argparse
import gc
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from importlib import import_module

from fadump.cli.failure import failure_of
from fadump.cli.output import ExitCode, Output, open_standard_files
from fadump.cli.parser import Answered, Parser, parse, wants_json
from fadump.cli.version import VersionOption
from fadump.errors import FadumpError
from fadump.progress import hidden
from fadump.signals import EndedBySignal, held, ignoring, raising

COMMANDS = (
    *("run", "vm", "rehearse", "size", "mount", "shell", "save", "show", "report", "dmesg", "check", "plan", "compare"),
    *("campaign",),
    *("drgn", "crash", "gdb"),
    *("doctor", "capture", "dumps"),
    *("kernel", "image", "qemu"),
    *("help", "completion", "version"),
)
"""The modules of this package that have a command of their name, in the order of the help."""
_EPILOG = """example:
  fadump run                      crashes a model of Linux, dumps it, and leaves fadump-run/vmcore
  fadump show fadump-run/vmcore   what crashed, when and why
  fadump help save                what a command takes, with examples

exit codes:
  0      done
  1      it was tried, and it failed: a dump lost or different, a file that is not whole, a disk that is full
  2      wrong usage, said before anything is started
  125    it could not be tried: no kernel, no QEMU, no memory, no disk, a package or an input file that is missing;
         git bisect run skips a commit of which a script says so
  128+N  ended by signal N: 130 by Ctrl-C, 143 by SIGTERM, 129 by SIGHUP, 131 by SIGQUIT, 141 as nobody reads the output
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command, print what it answers, and return its exit code, see :mod:`fadump.cli.failure`."""
    open_standard_files()
    words = list(sys.argv[1:] if arguments is None else arguments)
    output = Output(as_json=wants_json(words))
    first_phase, failed_code = None, ExitCode.FAILED
    try:
        with raising():
            try:
                options = _parsed(words)
                first_phase, failed_code = options.parser.first_phase, options.parser.failed_code
                output = Output(as_json=options.json, quiet=options.quiet, verbose=options.verbose)
                with hidden() if options.quiet else nullcontext():
                    answer = options.run(options, output)
            except Answered as asked:
                answer = asked.answer
            output.show(answer)
            return int(answer.exit_code)
    except (FadumpError, OSError, EndedBySignal) as error:
        failure = failure_of(error, first_phase)
        if failure.exit_code == ExitCode.FAILED:
            failure = replace(failure, exit_code=failed_code)
        with ignoring():
            output.fail(failure)
        return failure.exit_code


def _parsed(words: Sequence[str]) -> argparse.Namespace:
    """The options that words stand for. A signal that comes meanwhile ends this when what it needs is imported."""
    first_phase = None
    try:
        with held():
            options = parse(build_parser(words), words)
            options.typed = ["fadump", *words]
            first_phase = options.parser.first_phase
            if not gc.isenabled():  # by fadump.__main__
                gc.freeze()
                gc.enable()
    except EndedBySignal as error:
        error.phase = first_phase
        raise
    return options


def build_parser(words: Sequence[str]) -> Parser:
    """The parser for these words: it knows the command that they begin with, or all."""
    parser = Parser(
        prog="fadump",
        description="Linux's Firmware-Assisted Dump, whole: firmware, machine and dump tools.",
        epilog=_EPILOG,
    )
    parser.add_argument(
        "--version", action=VersionOption, nargs=0, help="say which version this is, as fadump version does"
    )
    parser.set_defaults(run=None, parser=parser)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=False)
    command = next((word for word in words if not word.startswith("-")), None)
    for name in [command] if command in COMMANDS else COMMANDS:
        import_module(f"fadump.cli.{name}").add_parser(commands)
    return parser
