"""``fadump vm``: a machine with FADump firmware for any system."""

import argparse
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import BinaryIO, cast

from fadump.cli.debugging_arguments import tell_of_port
from fadump.cli.output import Answer, Output
from fadump.cli.parser import Commands, add_command
from fadump.cli.paths import path
from fadump.cli.seat import TerminalSeat
from fadump.cli.system_arguments import add_firmware_arguments, add_system_arguments, system_with_firmware
from fadump.errors import UsageError
from fadump.given import is_same_file, writing
from fadump.observer import Seen
from fadump.printable import counted
from fadump.run.console import shown, telling_log
from fadump.run.output import NamedFile
from fadump.signals import time_limit
from fadump.systems.events import EventLog, SystemEvent
from fadump.systems.vm import Life, check_options, run_vm

_EXAMPLE = """examples:
  fadump vm --disk debian.img --snapshot
      a system with its own boot loader; nothing is written to its disk
  fadump vm --kernel vmlinux --disk root.img \\
      --cmdline 'console=hvc0 root=/dev/vda fadump=on'
      your kernel on a disk without a boot loader
  fadump vm --disk debian.img --events events --qemu-arg='-device usb-ehci'
      what the firmware sees as JSON, a line each, and more words for QEMU

on the terminal, as in QEMU:
  Ctrl-a x       ends the machine
  Ctrl-a c       says where the firmware stands
  Ctrl-a n       crashes the system by an NMI
  Ctrl-a s       tells a shell the terminal's size
  Ctrl-a h       lists these keys
  Ctrl-a Ctrl-a  sends Ctrl-a"""
_PRIVATE = 0o600


def add_parser(commands: Commands) -> None:
    """Add the command to the main parser."""
    parser = add_command(
        commands,
        "vm",
        _vm,
        summary="a machine with FADump firmware that lives until it is switched off: your disk, your kernel",
        description="Run any system for ppc64 or ppc64le on a machine with FADump firmware, its console on this "
        "terminal. Each crash is dumped if the system's kernel has registered, each reset and reboot is served, until "
        "the system powers off.",
        example=_EXAMPLE,
    )
    add_system_arguments(parser)
    add_firmware_arguments(parser)
    parser.add_argument("--snapshot", action="store_true", help="write nothing to the images: changes go at the end")
    parser.add_argument("--console-log", type=path, metavar="FILE", help="keep what comes on the console there, too")
    parser.add_argument(
        "--events", type=path, metavar="FILE", help="write what the firmware sees there as JSON lines, not to stderr"
    )


def _vm(options: argparse.Namespace, output: Output) -> Answer:
    machine = replace(system_with_firmware(options), snapshot=options.snapshot)
    check_options(machine)
    _check_written(options)
    tell_of_port(options, output)
    with ExitStack() as ends:
        terminal = TerminalSeat(output)
        where = terminal.seat
        if options.console_log is not None:
            log = ends.enter_context(_created("--console-log", options.console_log))
            ends.enter_context(telling_log(options.console_log))
            where = replace(where, screen=shown(log, where.screen))
        events = ends.enter_context(_told(options.events, output, terminal))
        ends.enter_context(time_limit(options.timeout))
        life = run_vm(machine, events, where)
    return Answer(_as_json(life), text=_summary(life))


def _check_written(options: argparse.Namespace) -> None:
    """Refuse to write over a file that the machine is made of.

    :raises UsageError: that is asked for.
    """
    taken = [("--disk", disk) for disk in options.disk] + [("--kernel", options.kernel), ("--initrd", options.initrd)]
    for written, file in (("--console-log", options.console_log), ("--events", options.events)):
        for option, other in taken:
            if file is not None and other is not None and is_same_file(file, other):
                raise UsageError(f"{written} {file} is the {option}, too: name another file")
        taken.append((written, file))


@contextmanager
def _told(file: Path | None, output: Output, terminal: TerminalSeat) -> Iterator[EventLog]:
    if file is None:
        look = terminal.look_among_console()
        yield EventLog(lambda event: None if output.quiet else event.tell(look), calls=output.verbose)
        return
    with _created("--events", file) as stream:
        yield EventLog(lambda event: _write(stream, event), calls=output.verbose)


def _created(option: str, file: Path) -> BinaryIO:
    """A file that only its owner may read, empty, and written to without delay."""
    with writing(option, file):
        return cast("BinaryIO", NamedFile(file, "wb", opener=partial(os.open, mode=_PRIVATE)))


def _write(stream: BinaryIO, event: SystemEvent) -> None:
    stream.write(f"{event.as_json()}\n".encode())


def _as_json(life: Life) -> dict[str, object]:
    return {
        "result": "powered-off" if life.powered_off else "ended",
        "crashes": life.counts[Seen.CRASHED],
        "dumps": life.counts[Seen.PRESERVED],
        "resets": life.counts[Seen.RESET],
        "registrations": life.counts[Seen.REGISTERED],
    }


def _summary(life: Life) -> str:
    how = "The system has powered off" if life.powered_off else "The machine has been ended"
    registrations, dumps = life.counts[Seen.REGISTERED], life.counts[Seen.PRESERVED]
    return f"{how}: {counted(registrations, 'registration')}, {counted(dumps, 'dump')}."
