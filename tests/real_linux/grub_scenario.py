"""A scenario whose guest is started by GRUB, from a disk."""

from functools import partial

from fadump.abi.platform import Platform
from fadump.abi.pseries.rtas import KERNEL_DUMP
from fadump.kit.initramfs import build_initramfs
from fadump.machine.qemu.config import QemuConfig
from fadump.machine.qemu.machine import QemuMachine
from fadump.run.options import RunOptions, WhichMachine
from fadump.run.parts import kernel_command_line
from tests.real_linux.boot_disk import boots_from
from tests.real_linux.scenario import MEMORY_BYTES, Scenario


class GrubScenario(Scenario):
    """``trees`` are what the firmware was given to describe itself in, SLOF's and Linux's in turn; ``has_dump`` says of
    each whether there was a dump in it by then."""

    def __init__(self, directory, grub, kernel, cmdline="", memory_bytes=MEMORY_BYTES[Platform.PSERIES], initrd=None):
        options = RunOptions(directory, WhichMachine.QEMU, Platform.PSERIES, memory_bytes, cmdline=cmdline)
        words = kernel_command_line(options)
        files = directory / "files"
        self._disk = grub.disk(directory / "disk", files, words, kernel.bootable, initrd or build_initramfs())
        self.trees = []
        self.has_dump = []
        super().__init__(directory, kernel, memory_bytes=memory_bytes)
        self._describe = self.firmware.describe
        self.firmware.describe = self._see

    def _machine_for(self, kernel, cmdline, platform):
        return partial(QemuMachine, disk_config(self._disk, self._memory_bytes))

    def _see(self, tree):
        self.trees.append(tree)
        self.has_dump.append(KERNEL_DUMP in tree.node("/rtas", "the firmware is its service").properties)
        self._describe(tree)


def disk_config(disk, memory_bytes=MEMORY_BYTES[Platform.PSERIES]):
    """A machine that boots from this disk."""
    return QemuConfig(None, None, "", nodes=(memory_bytes,), extra_arguments=boots_from(disk))
