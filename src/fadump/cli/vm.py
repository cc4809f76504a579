"""``fadump vm``: a machine with FADump firmware for any system."""

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TextIO

from fadump.cli.debugging_arguments import tell_of_port
from fadump.cli.output import Answer, Output
from fadump.cli.parser import Commands, add_command
from fadump.cli.paths import path
from fadump.cli.seat import say, seat
from fadump.cli.system_arguments import add_system_arguments, system_options
from fadump.given import writing
from fadump.printable import counted
from fadump.session import Seen
from fadump.signals import time_limit
from fadump.systems.events import EventLog, SystemEvent
from fadump.systems.vm import Life, run_vm

_EXAMPLE = """examples:
  fadump vm --disk debian.img --snapshot
      a system with its own boot loader; nothing is written to its disk
  fadump vm --kernel vmlinux --disk root.img --cmdline 'console=hvc0 root=/dev/vda fadump=on'
      your kernel on a disk without a boot loader
  fadump vm --disk debian.img --events events.jsonl --qemu-arg='-device usb-ehci'
      what the firmware sees as JSON, a line each, and more words for QEMU

on the terminal, as in QEMU:
  Ctrl-a x ends the machine, Ctrl-a c says where the firmware stands, Ctrl-a n crashes the system by an NMI,
  Ctrl-a s tells a shell the terminal's size, Ctrl-a h lists these keys, Ctrl-a Ctrl-a sends Ctrl-a"""
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
    parser.add_argument("--snapshot", action="store_true", help="write nothing to the images: changes go at the end")
    parser.add_argument(
        "--events", type=path, metavar="FILE", help="write what the firmware sees there as JSON lines, not to stderr"
    )


def _vm(options: argparse.Namespace, output: Output) -> Answer:
    tell_of_port(options, output)
    with time_limit(options.timeout), _told(options.events, output) as events:
        life = run_vm(
            replace(system_options(options), snapshot=options.snapshot),
            events,
            seat(output),
        )
    return Answer(_as_json(life), text=_summary(life))


@contextmanager
def _told(file: Path | None, output: Output) -> Iterator[EventLog]:
    if file is None:
        yield EventLog(lambda event: None if output.quiet else say(event.as_text()), calls=output.verbose)
        return
    with writing("--events", file):
        fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, _PRIVATE)
    with open(fd, "w", encoding="utf-8", buffering=1) as stream:  # noqa: PTH123 - a descriptor has no path
        yield EventLog(lambda event: _write(stream, event), calls=output.verbose)


def _write(stream: TextIO, event: SystemEvent) -> None:
    stream.write(event.as_json() + "\n")


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
