"""The embedded machine's files without a mount, served by its firmware."""

import io
from contextlib import contextmanager

from fadump.abi.platform import Platform
from fadump.machine.channel import Hello
from fadump.machine.embedded.machine import EmbeddedMachine
from fadump.mount.files import MachineFiles
from fadump.observer import Unwatched
from fadump.session import Session
from tests.machine.embedded.bench import config_of, disk, firmware_of

FADUMP = "/sys/kernel/fadump"
TRIGGER = "/proc/sysrq-trigger"


class Tree:
    """System calls by name; ``failures`` is what the machine ended with."""

    def __init__(self, machine, firmware, disk_fd):
        self.session = Session(machine, firmware, Unwatched())
        self.session.expect(Hello)
        self.machine, self.firmware, self.disk_fd, self.failures = machine, firmware, disk_fd, []
        self.files = MachineFiles(machine, self.session, 1, self.failures.append)

    def cat(self, path):
        opened = self.files.open(path, reading=True, writing=False)
        return opened.read(0, 1 << 20).decode()

    def write(self, path, data):
        return self.files.open(path, reading=False, writing=True).write(data)

    def exists(self, path):
        try:
            self.files.attributes(path)
        except FileNotFoundError:
            return False
        return True

    def crash(self):
        self.write(TRIGGER, b"c\n")


@contextmanager
def file_tree(platform=Platform.PSERIES, cmdline="fadump=on", **others):
    config = config_of(platform, cmdline, **others)
    with disk(0) as fd, EmbeddedMachine(config, fd, io.BytesIO()) as machine:
        yield Tree(machine, firmware_of(platform), fd)
