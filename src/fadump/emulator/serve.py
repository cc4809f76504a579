"""The firmware beside a QEMU that somebody else has started: it serves the guest until QEMU ends.

Whatever goes wrong here, QEMU is somebody else's: the guest goes on without FADump, and a sentence says so.
"""

import errno
import io
import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from fadump.abi.platform import Platform
from fadump.emulator.guest import Guest
from fadump.errors import FadumpError, reason
from fadump.firmware.powernv import PowernvFirmware
from fadump.firmware.pseries import PseriesFirmware
from fadump.machine.qemu.config import QemuConfig
from fadump.machine.qemu.machine import QemuMachine
from fadump.machine.qemu.started import StartedQemu
from fadump.printable import printable
from fadump.session import Session
from fadump.systems.events import EventLog, SystemEvent

EVENTS_VARIABLE = "FADUMP_EVENTS"
"""The environment's name for a file that gets what the firmware sees as JSON lines."""
_PRIVATE = 0o600
_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK
"""A pipe that nobody reads must not keep the guest."""
_WHY = {errno.ENXIO: "nobody reads that pipe", errno.EAGAIN: "that pipe is full"}


def serve(guest: Guest, started: StartedQemu) -> int:
    """Serve until QEMU ends; 0 if it can go on without us, or has ended, 1 if it has to end."""
    status, was_left = _serve(guest, started)
    if guest.gdb is not None and not was_left:  # else QEMU waits there itself
        guest.gdb.forget()
    return status


def _serve(guest: Guest, started: StartedQemu) -> tuple[int, bool]:
    with _told() as events:
        firmware = PowernvFirmware() if guest.platform is Platform.POWERNV else PseriesFirmware()
        machine = QemuMachine(_config(guest, started), None, io.BytesIO())
        try:
            with machine:
                session = Session(machine, firmware, events, silence_seconds=math.inf)
                while True:
                    session.serve()
        except FadumpError as error:
            if machine.is_ending or started.ends_soon():
                return 0, False
            if machine.was_left:
                _say(f"the guest goes on without FADump: {error}")
                return 0, True
            _say(f"QEMU has to end: {error}")
            return 1, False


def _config(guest: Guest, started: StartedQemu) -> QemuConfig:
    return QemuConfig(
        kernel=guest.kernel,
        initrd=None,
        cmdline="",
        platform=guest.platform,
        nodes=tuple(backend.size_bytes for backend in guest.backends),
        has_guest_channel=False,
        started=started,
    )


@contextmanager
def _told() -> Iterator[EventLog]:
    """Where the firmware's events go; those that a file can't take go to stderr, as all do without one."""
    file = os.environ.get(EVENTS_VARIABLE)
    try:
        fd = os.open(file or os.devnull, _APPEND, _PRIVATE)
    except OSError as error:
        _say_unwritable(error)
        file = None
        fd = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    try:

        def write(event: SystemEvent) -> None:
            if file:
                try:
                    os.write(fd, f"{event.as_json()}\n".encode())
                except OSError as error:
                    _say_unwritable(error)
                else:
                    return
            _say(event.as_text())

        yield EventLog(write)
    finally:
        os.close(fd)


def _say_unwritable(error: OSError) -> None:
    why = _WHY.get(error.errno or 0) or reason(error)
    _say(f"{EVENTS_VARIABLE}={os.environ[EVENTS_VARIABLE]} can't be written: {why}")


def _say(sentence: str) -> None:
    """On stderr; if that is a terminal, QEMU may have made it raw, so that it goes down a line only."""
    print(printable(f"fadump: {sentence}"), end="\r\n" if sys.stderr.isatty() else "\n", file=sys.stderr, flush=True)
