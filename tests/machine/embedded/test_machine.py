"""The embedded machine's own part of the contract: its memory, its reset, its disk."""

import errno
import io
import os

import pytest

from fadump.abi.platform import Platform
from fadump.errors import MachineError, SetupError
from fadump.firmware.contract import Answer
from fadump.kernel.elfcorehdr import Load
from fadump.kernel.vmcore import lay_out
from fadump.machine.channel import FileWritten, Hello, Register, Registered, RunScript, ScriptRan
from fadump.machine.contract import Handover, Stopped
from fadump.machine.embedded.config import EmbeddedConfig
from fadump.machine.embedded.machine import EmbeddedMachine
from fadump.machine.embedded.save import save_vmcore
from fadump.memory.ranges import Range, RangeSet
from tests.kernel.running import guest_memory
from tests.machine.embedded.bench import ALL, MIB, bench, config_of, disk


@pytest.mark.parametrize("platform", ALL)
def test_every_byte_that_is_to_be_kept_is_there_at_the_next_handover(platform):
    kept = {}

    def remember(guest):
        for piece in guest.dump.keep:
            for part in guest.machine.memory.populated(piece):
                kept[part] = guest.machine.memory.read(part.start, part.size_bytes)

    def look(_tree):
        opal = RangeSet(area.range for area in guest.machine.firmware_memory)
        for part, data in kept.items():
            if not opal.overlaps(part):
                assert guest.machine.memory.read(part.start, part.size_bytes) == data
        checked.append(len(kept))

    checked = []
    with bench(platform) as guest:
        guest.on_dump = remember
        guest.on_tree = look
        guest.to_capture()
        guest.ask(RunScript("true"), ScriptRan)
        guest.machine.press_reset()
        guest.until(Hello)
    assert checked[0] == 0 and checked[1] == checked[2] > 10


def test_a_guest_that_nobody_asks_anything_stands_still():
    with bench() as guest:
        guest.to_registered()
        with pytest.raises(MachineError, match="waits to be asked"):
            guest.until("anything")
        assert guest.ask(Register(), Registered).word == "registered"


def test_a_halted_machine_says_so_and_shows_its_last_lines():
    with bench() as guest:
        guest.to_registered()
        guest.machine.halt()
        stopped = guest.machine.next_event(1)
        assert isinstance(stopped, Stopped) and stopped.reason == "the machine is halted"
        assert stopped.console[-1].endswith("Registration is successful!")


def test_a_machine_whose_kernel_runs_no_more_says_so():
    with bench() as guest:
        guest.to_registered()
        guest.machine.halt()
        ram = guest.machine.memory.ram
        for ask in (
            lambda: guest.machine.kernel,
            lambda: guest.machine.answer(guest.calls[-1], Answer(0)),
            lambda: guest.machine.plug_memory(Range(4096 * MIB, 4352 * MIB)),
        ):
            with pytest.raises(MachineError, match="no kernel runs on this machine now"):
                ask()
        assert guest.machine.memory.ram == ram


def test_a_kernel_that_cannot_run_stops_the_machine():
    with bench(cpus=65) as guest, pytest.raises(MachineError, match="panicked: there are 65 CPUs"):
        guest.until(Hello)


def test_a_tree_that_is_too_large_is_refused():
    def grow(tree):
        tree.root.properties["junk"] = bytes(2 << 20)

    with bench() as guest:
        guest.on_tree = grow
        with pytest.raises(MachineError, match="does not fit into 0x100000"):
            guest.until(Hello)


def test_calls_that_are_nobodys_are_answered_by_the_machine():
    with bench() as guest:
        event = guest.machine.next_event(1)
        assert isinstance(event, Handover) and event.boot == 1
        guest.firmware.describe(event.tree)
        guest.machine.enter(event, frozenset())
        hello = guest.until(Hello)
        assert hello.registered is False
        assert "Hardware Error(-1)" in guest.log


def test_memory_that_the_host_cannot_map_is_told():
    with disk(MIB) as fd, pytest.raises(SetupError, match="the host can't"):
        EmbeddedMachine(config_of(Platform.PSERIES, memory=(Range(0, 1 << 60),)), fd, io.BytesIO())


def test_pirs_are_those_of_cores_with_four_threads():
    assert EmbeddedConfig("", Platform.POWERNV, cpus=4, smt=2).cpu_ids == (0, 1, 4, 5)
    assert EmbeddedConfig("", Platform.POWERNV, cpus=16, smt=8).cpu_ids == (*range(8), *range(8, 16))
    assert EmbeddedConfig("", Platform.PSERIES, cpus=4, smt=2).cpu_ids == (0, 1, 2, 3)


def test_what_was_on_the_disk_is_gone_and_holes_are_holes():
    loads = [Load(0, 0x80_0000, 0x20_0000), Load(0x100_0000, 0x100_0000, 0x20_0000)]
    vmcore = lay_out(loads, b"", 0x10000)
    with guest_memory(Range(0, 64 * MIB)) as memory, disk(16 * MIB) as fd:
        os.pwrite(fd, b"\xee" * 16 * MIB, 0)
        memory.write(0x80_0123, b"moved")
        memory.write(0x11F_FFFF, b"!")
        save_vmcore(vmcore, memory, fd)
        assert os.fstat(fd).st_size == 16 * MIB
        assert os.fstat(fd).st_blocks * 512 <= 4 * os.sysconf("SC_PAGESIZE") + len(vmcore.head)
        data = os.pread(fd, 16 * MIB, 0)
    first, second = (piece.offset for piece in vmcore.pieces)
    assert data[: len(vmcore.head)] == vmcore.head
    expected = bytearray(16 * MIB)
    expected[: len(vmcore.head)] = vmcore.head
    expected[first + 0x123 : first + 0x128] = b"moved"
    expected[second + 0x1F_FFFF] = ord("!")
    assert data == expected


@pytest.mark.parametrize("platform", ALL)
def test_cpus_are_what_linux_takes_for_a_power9(platform):
    """arch/powerpc/kernel/cpu_specs_book3s_64.h, "Power9 DD2.2 or later": pvr_mask and pvr_value."""
    with bench(platform) as guest:
        guest.until(Hello)
        assert {cpu.values["PVR"] & 0xFFFF_EFFF for cpu in guest.machine.cpus()} == {0x004E_0202}


def test_a_cpu_is_a_core_of_its_own_unless_threads_are_asked_for():
    """PAPR, "ibm,ppc-interrupt-server#s": a core's threads, a cell each."""

    def look(tree):
        servers = [node.properties["ibm,ppc-interrupt-server#s"] for node in tree.find("/cpus").children]
        cores.append([len(cells) // 4 for cells in servers])

    cores = []
    for threads in ({}, {"smt": 2}):
        with bench(cpus=4, **threads) as guest:
            guest.on_tree = look
            guest.until(Hello)
    assert cores == [[1, 1, 1, 1], [2, 2]]


@pytest.mark.parametrize("path", ["/sys/kernel/fadump/mem_reserved", "/sys/kernel/fadump/no_such_file"])
def test_what_is_no_file_to_write_to_answers_with_an_error(path):
    with bench() as guest:
        guest.to_registered()
        guest.machine.write_file(path, b"1")
        assert guest.until(FileWritten) == FileWritten(-errno.ENODEV)
