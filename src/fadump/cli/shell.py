"""``fadump shell``: a shell on the embedded machine's files, at their absolute paths."""

import argparse
import os
import sys
from collections.abc import Sequence

from fadump.cli.machine_arguments import add_machine_arguments, listed_faults
from fadump.cli.mount import embedded_options
from fadump.cli.output import Answer, Output
from fadump.cli.parser import Commands, add_command
from fadump.mount.shell import run_shell

_EXAMPLE = """examples:
  fadump shell                         a shell, with a machine that has registered
  fadump shell -c 'cat /sys/kernel/fadump/registered'
  fadump shell --platform powernv -- ./my-kdump-script --save"""


def add_parser(commands: Commands) -> None:
    """Add the command to the main parser."""
    parser = add_command(
        commands,
        "shell",
        _shell,
        summary="a shell, or a script, on a machine with FADump: its files are at /proc and /sys",
        description="Run a command where /proc, /sys/kernel and /sys/firmware have the files of a machine with FADump, "
        "which runs a model of Linux, in a mount namespace of its own. All other files are this computer's. The exit "
        "status is the command's.",
        example=_EXAMPLE,
    )
    add_machine_arguments(parser)
    parser.add_argument("-c", dest="script", metavar="CMD", help="a command for sh(1)")
    parser.add_argument("command", nargs="*", metavar="COMMAND", help="a command with its arguments, behind --")


def _shell(options: argparse.Namespace, output: Output) -> Answer:
    if (listed := listed_faults(options)) is not None:
        return listed
    status = run_shell(embedded_options(options), _command(options), stdout=sys.stderr if output.as_json else None)
    return Answer({"result": "ended", "exit_status": status}, exit_code=status)


def _command(options: argparse.Namespace) -> Sequence[str]:
    if options.script is not None:
        return ["sh", "-c", options.script, *options.command]
    return options.command or [os.environ.get("SHELL") or "/bin/sh"]
