"""``fadump shell``: a shell on the embedded machine's files, at their absolute paths."""

import argparse
import json
import os
import sys
from collections.abc import Sequence

from fadump.cli.help_text import HelpFormatter
from fadump.cli.machine_arguments import add_machine_arguments, listed_faults
from fadump.cli.mount import embedded_options
from fadump.mount.shell import run_shell

_EXAMPLE = """examples:
  fadump shell                         a shell, with a machine that has registered
  fadump shell -c 'cat /sys/kernel/fadump/registered'
  fadump shell --platform powernv -- ./my-kdump-script --save"""


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the main parser."""
    parser = commands.add_parser(
        "shell",
        help="a shell, or a script, on a machine with FADump: its files at /sys/kernel/fadump, /proc/vmcore and so on",
        description="Run a command where /proc, /sys/kernel and /sys/firmware have the files of a machine with FADump, "
        "which runs a model of Linux, in a mount namespace of its own. All other files are this computer's. The exit "
        "status is the command's.",
        epilog=_EXAMPLE,
        formatter_class=HelpFormatter,
    )
    add_machine_arguments(parser)
    parser.add_argument("-c", dest="script", metavar="CMD", help="a command for sh(1)")
    parser.add_argument("command", nargs="*", metavar="COMMAND", help="a command with its arguments, behind --")
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object on stdout at the end; the command's goes to stderr"
    )
    parser.set_defaults(func=_shell)


def _shell(options: argparse.Namespace) -> int:
    if listed_faults(options):
        return 0
    status = run_shell(embedded_options(options), _command(options), stdout=sys.stderr if options.json else None)
    if options.json:
        print(json.dumps({"result": "ended", "exit_status": status}))
    return status


def _command(options: argparse.Namespace) -> Sequence[str]:
    if options.script is not None:
        return ["sh", "-c", options.script, *options.command]
    return options.command or [os.environ.get("SHELL") or "/bin/sh"]
