"""``fadump mount``: the embedded machine as a tree of files."""

import argparse
import os
import shlex
from contextlib import suppress
from pathlib import Path

from fadump.cli.machine_arguments import add_machine_arguments, listed_faults, machine_choices
from fadump.cli.output import Answer, ExitCode, Output
from fadump.cli.parser import Commands, add_command
from fadump.cli.paths import path
from fadump.cli.run_view import RunView
from fadump.look import Look
from fadump.machine.channel import Hello, Report
from fadump.mount.mount import mount
from fadump.run.options import RunOptions, WhichMachine

_EXAMPLE = """example:
  fadump mount /mnt &
  echo c >/mnt/proc/sysrq-trigger      crashes it; the write ends in the capture boot
  fadump show /mnt/proc/vmcore
  echo 1 >/mnt/sys/kernel/fadump/release_mem
  fusermount3 -u /mnt                  ends it, as Ctrl-C does"""


def add_parser(commands: Commands) -> None:
    """Add the command to the main parser."""
    parser = add_command(
        commands,
        "mount",
        _mount,
        summary="a machine with FADump as a tree of files: /sys/kernel/fadump, /proc/vmcore, /proc/sysrq-trigger",
        description="Mount the files of a machine with FADump, which runs a model of Linux. They are Linux's in "
        "content, modes and errors. The machine lives until it is unmounted, or this command ends. Exit status 1: it "
        "was not mounted, or has come to its end before, as by a fault.",
        example=_EXAMPLE,
    )
    parser.add_argument("directory", type=path, metavar="DIR", help="where to mount it, an existing directory")
    add_machine_arguments(parser)


def _mount(options: argparse.Namespace, output: Output) -> Answer:
    if (listed := listed_faults(options)) is not None:
        return listed
    exit_code = ExitCode.DONE

    def mounted() -> None:
        where = shlex.quote(str(options.directory))
        with suppress(OSError):
            output.show(
                Answer(
                    {"result": "mounted", "directory": str(options.directory), "pid": os.getpid()},
                    listing=f"mounted at {where}; to end it: fusermount3 -u {where}, or Ctrl-C",
                )
            )

    def failed(sentence: str) -> None:
        nonlocal exit_code
        exit_code = ExitCode.FAILED
        with suppress(OSError):
            output.remark(f"{sentence}; every file is EIO from now on: unmount it")

    mount(
        embedded_options(options),
        options.directory,
        _View(_Unheard(output.live, like=output.file), verbose=output.verbose),
        on_mounted=mounted,
        on_failure=failed,
    )
    return Answer(exit_code=exit_code)


class _View(RunView):
    """The same for a machine that may boot without a dump."""

    def __init__(self, look: Look, *, verbose: bool) -> None:
        super().__init__(look, verbose=verbose)
        self._booted = False

    def report(self, report: Report) -> None:
        """A boot after the first one that no milestone tells of."""
        if isinstance(report, Hello):
            if self._booted and not report.is_capture:
                self._look.more("reset: there is no dump, the first kernel boots again")
            self._booted = True


class _Unheard(Look):
    """The machine goes on where nobody listens any more."""

    def _print(self, text: str) -> None:
        with suppress(OSError):
            super()._print(text)


def embedded_options(options: argparse.Namespace) -> RunOptions:
    """The embedded machine that is asked for, whose files go nowhere."""
    return RunOptions(out=Path(), machine=WhichMachine.EMBEDDED, **machine_choices(options))
