"""The options of all commands that may have a guest of QEMU's: looking into it, and how long it may take."""

import argparse

from fadump.cli.numbers import number, seconds
from fadump.cli.output import Output
from fadump.machine.contract import StopAt

_MOST_PORT = 65535


def add_debugging_arguments(parser: argparse.ArgumentParser, *, only: str = "") -> None:
    """A port for gdb, where to wait for one, and the command's time; ``only`` says in the help what they are for."""
    parser.add_argument(
        "--gdb", type=number(1, _MOST_PORT), metavar="PORT",
        help=f"{only}let gdb attach to the guest at any time, by 'target remote :PORT', from this computer",
    )  # fmt: skip
    parser.add_argument(
        "--stop-at", choices=list(StopAt), type=StopAt, metavar="WHERE",
        help=f"{only}stand still there, once, until a gdb lets the guest go: handover, at the kernel's first "
        "instruction; registered; crash, before the dump is taken",
    )  # fmt: skip
    parser.add_argument(
        "--timeout", type=seconds, metavar="SECONDS", help="end with exit code 1 if it isn't done by then"
    )


def tell_of_port(options: argparse.Namespace, output: Output) -> None:
    """Say how to attach, before the machine is powered on."""
    if options.gdb is None or output.quiet:
        return
    where = "" if options.stop_at is None else f"; the guest stands still at {options.stop_at} until you let it go"
    output.aside(f"gdb attaches by 'target remote :{options.gdb}'{where}")
