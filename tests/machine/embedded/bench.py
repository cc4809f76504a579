"""An embedded machine on a bench: served by a firmware, and bent by a test where it likes.

``statuses`` are given to the next firmware calls instead of the firmware's own; ``on_crash`` sees the machine at its
crash, ``on_dump`` may change memory between
the firmware's copying and the reset; ``on_tree`` may change a device tree after the firmware has described itself in
it; at event number ``cut_at`` the power is cut, once.
"""

import io
import os
from collections import deque
from contextlib import contextmanager

from fadump.abi.platform import Platform
from fadump.errors import MachineError
from fadump.firmware.contract import Answer, FirmwareCall, PassThrough, Trigger, TriggerKind
from fadump.firmware.powernv import PowernvFirmware
from fadump.firmware.pseries import PseriesFirmware
from fadump.machine.channel import (
    Crash,
    Crashing,
    Failed,
    Hello,
    Register,
    Registered,
    Release,
    Released,
    Report,
    Reregister,
    Save,
    Saved,
)
from fadump.machine.contract import GuestReset, Handover, Stopped
from fadump.machine.embedded.config import EmbeddedConfig
from fadump.machine.embedded.machine import EmbeddedMachine
from fadump.memory.ranges import Range

MIB = 1 << 20
LEAST = {Platform.PSERIES: 1024 * MIB, Platform.POWERNV: 4096 * MIB}
ALL = tuple(Platform)


def config_of(platform, cmdline="fadump=on", **others):
    memory = others.pop("memory", (Range(0, LEAST[platform]),))
    return EmbeddedConfig(cmdline, platform, memory, **others)


def firmware_of(platform, offer=None):
    return PseriesFirmware(offer=offer) if platform is Platform.PSERIES else PowernvFirmware()


@contextmanager
def disk(size_bytes):
    fd = os.memfd_create("disk")
    os.ftruncate(fd, size_bytes)
    try:
        yield fd
    finally:
        os.close(fd)


class Bench:
    def __init__(self, machine, firmware, console, disk_fd):
        self.machine, self.firmware, self.console, self.disk_fd = machine, firmware, console, disk_fd
        self.statuses = deque()
        self.on_crash = self.on_dump = self.on_tree = lambda *_things: None
        self.cut_at = None
        self.events = 0
        self.calls = []
        self.resets = 0
        self.dump = None

    @property
    def log(self):
        return self.console.getvalue().decode()

    def ask(self, request, answer):
        self.machine.ask(request)
        return self.until(answer)

    def until(self, answer):
        while True:
            event = self.machine.next_event(1)
            self.events += 1
            if self.events == self.cut_at:
                self.machine.press_reset()
                continue
            match event:
                case Handover(tree=tree):
                    self.firmware.describe(tree)
                    self.on_tree(tree)
                    self.machine.enter(event, self.firmware.tokens)
                case FirmwareCall():
                    self._serve(event)
                case GuestReset():
                    self.resets += 1
                    self.firmware.on_reset()
                case Report() if isinstance(event, (answer, Failed)):
                    return event
                case Hello() if self.events > (self.cut_at or self.events):
                    raise RebootedError
                case Stopped(reason=reason):
                    raise MachineError(reason)

    def _serve(self, call):
        self.calls.append(call)
        outcome = Answer(self.statuses.popleft()) if self.statuses else None
        outcome = outcome or self.firmware.call(call, self.machine.memory)
        match outcome:
            case Answer() | PassThrough():
                self.machine.answer(call, outcome)
            case Trigger():
                self._take_dump(outcome)

    def _take_dump(self, trigger):
        self.on_crash(self, trigger)
        self.dump = self.firmware.preserve(trigger, self.machine.memory, self.machine.cpus())
        self.on_dump(self)
        self.machine.reset(self.dump.keep, self.dump.hash_tables)

    def platform_crash(self):
        self.machine.halt()
        self._take_dump(Trigger(TriggerKind.PLATFORM, "", None))

    def to_registered(self):
        self.until(Hello)
        return self.ask(Register(), Registered)

    def to_capture(self, cpu=0):
        self.to_registered()
        self.ask(Crash(cpu), Crashing)
        return self.until(Hello)

    def to_production(self):
        """From a capture boot on."""
        for request, answer in ((Save(), Saved), (Release(), Released), (Reregister(), Registered)):
            assert isinstance(self.ask(request, answer), answer)


class RebootedError(Exception):
    """The power was cut, and the guest says hello instead of what was waited for."""


@contextmanager
def bench(platform=Platform.PSERIES, cmdline="fadump=on", *, offer=None, **others):
    config = config_of(platform, cmdline, **others)
    console = io.BytesIO()
    room_bytes = sum(piece.size_bytes for piece in config.memory) + 128 * MIB
    with disk(room_bytes) as fd, EmbeddedMachine(config, fd, console) as machine:
        yield Bench(machine, firmware_of(platform, offer), console, fd)
