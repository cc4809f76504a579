"""A guest that is started by the boot loader of its own disk: by GRUB, and by one that is up to no good."""

import io
import struct
from dataclasses import dataclass

import pytest

from fadump.abi.platform import Platform
from fadump.errors import MachineError
from fadump.firmware.pseries import PseriesFirmware
from fadump.machine.channel import BootMode
from fadump.machine.qemu.config import QemuConfig
from fadump.machine.qemu.machine import QemuMachine
from fadump.memory.ranges import Range, RangeSet
from fadump.observer import Seen, Unwatched
from fadump.session import Session
from tests.real_linux.boot_disk import LOADER_ADDRESS, Grub, elf, write_disk
from tests.real_linux.grub_scenario import GrubScenario, disk_config
from tests.real_linux.scenario import FIRMWARE, MEMORY_BYTES, SavedDump

KERNEL = RangeSet([Range.sized(0x200_0000, 0x1_0000)])
"""Where that GRUB puts it."""
SUITES = ["bookworm"]
"""Debian's GRUB 2.06."""


@dataclass(frozen=True)
class Told:
    """What it was like; ``has_dump`` says of each tree, of SLOF's and Linux's in turn, whether a dump was in it."""

    modes: list
    dump: SavedDump
    has_dump: list
    stops: list
    foreign_stops: int
    refusal: str


@pytest.fixture(scope="module")
def told(tmp_path_factory, kernel):
    """Two boots that end in a reset, by Linux and by an operator; then a crash, and a new registration; and a crash of
    which the memory is to be kept that GRUB has put the kernel to."""
    directory = tmp_path_factory.mktemp("grub")
    with GrubScenario(directory, Grub(tmp_path_factory.mktemp("bookworm"), SUITES), kernel) as scenario:
        hellos = [scenario.hello()]
        stops = [scenario.machine.served.stops]
        hellos += [scenario.reboot(), scenario.press_reset(), scenario.crash()]
        dump = scenario.save()
        scenario.back_to_production()
        has_dump = list(scenario.has_dump)
        reset = scenario.machine.reset
        scenario.machine.reset = lambda keep, tables: reset(keep | KERNEL, tables)
        with pytest.raises(MachineError) as refused:
            scenario.crash()
        modes = [(hello.mode, hello.registered) for hello in hellos]
        return Told(modes, dump, has_dump, stops, scenario.machine.served.foreign_stops, str(refused.value))


def test_every_boot_is_handed_over_and_registers(told):
    assert told.modes == [(BootMode.FIRST, True)] * 3 + [(BootMode.CAPTURE, False)]


def test_no_byte_of_the_dump_differs(told):
    assert told.dump.verdict.memory.bytes_different == 0
    assert told.dump.verdict.memory.bytes_excluded == 0
    assert told.dump.verdict.same
    assert told.dump.cpu_count == 2


def test_the_boot_loader_finds_the_dump_in_slofs_tree_and_linux_copies_it_from_there(told):
    assert told.has_dump == [False, False] * 3 + [False, True]


def test_a_kernel_over_the_dump_is_refused(told):
    assert "have been loaded over 64.0 KiB of the crashed kernel's memory, from 0x2000000 on" in told.refusal


def test_a_boot_stops_four_times(told):
    """The loader's entry, quiesce, the kernel's entry, its registration."""
    assert told.stops == [4]
    assert told.foreign_stops == 0


def session_of(machine):
    return Session(machine, PseriesFirmware(), Unwatched())


def test_a_boot_loader_that_quiesces_for_itself_is_refused(tmp_path):
    code = struct.pack(">5I", 0x3C60_0020, 0x6063_0040, 0x7CA9_03A6, 0x4E80_0421, 0x4800_0000)  # r5(0x200040), for ever
    code = code.ljust(0x40, b"\0") + struct.pack(">III", LOADER_ADDRESS + 0x50, 0, 0).ljust(16, b"\0") + b"quiesce\0"
    disk = write_disk(tmp_path / "disk", elf(code))
    with (
        QemuMachine(disk_config(disk), None, io.BytesIO()) as machine,
        pytest.raises(MachineError, match="quiesce is called from 0x200010, and no Linux kernel begins"),
    ):
        session_of(machine).wait_for(Seen.REGISTERED)


def silence(config):
    """What a machine says that is given a moment only."""
    with QemuMachine(config, None, io.BytesIO()) as machine, pytest.raises(MachineError) as caught:
        Session(machine, FIRMWARE[config.platform](), Unwatched(), silence_seconds=0.1).wait_for(Seen.REGISTERED)
    return str(caught.value)


def test_a_disk_without_a_boot_loader_is_waited_for_in_words(tmp_path):
    disk = write_disk(tmp_path / "disk", b"")
    assert "nothing has happened for 0.1 seconds, waiting for a boot loader to start at 0x200000" in silence(
        disk_config(disk)
    )


@pytest.mark.parametrize(("platform", "firmware"), [(Platform.PSERIES, "SLOF"), (Platform.POWERNV, "skiboot")])
def test_a_kernel_that_does_not_start_is_waited_for_in_words(kernel, platform, firmware):
    config = QemuConfig(kernel.bootable, None, "", platform, nodes=(MEMORY_BYTES[platform],))
    assert f"nothing has happened for 0.1 seconds, waiting for {firmware} to start the kernel" in silence(config)
