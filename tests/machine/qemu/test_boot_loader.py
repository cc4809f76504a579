"""The way from a boot loader into its kernel, on a guest whose registers and memory the test sets; and the patch of
SLOF's client interface, run by QEMU instruction by instruction."""

import asyncio
import os
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fadump.errors import MachineError
from fadump.machine.qemu.boot_loader import KernelStarts, LoaderRuns, LoaderStarts, boot_tree_place
from fadump.machine.qemu.entry_page import client_page
from fadump.machine.qemu.handover import TreePlace
from fadump.machine.qemu.kernel_entry import StoppedCpu
from fadump.memory.guest import GuestMemory, Segment
from fadump.memory.ranges import Range
from tests.machine.qemu.test_registers import Connections

RAM_BYTES = 64 << 20
CLIENT = 0x3DA_04C4
KERNEL = 0x200_0000
ARGUMENTS, NAME = 0x31_0000, 0x31_0040
KERNEL_BEGINS = bytes.fromhex("480000082c0000487d6000a6696b0001394000007d410164")  # of Debian's and of this project's
BIG_ENDIAN_BEGINS = bytes.fromhex("080000484800002ca600607d01006b69")
MFLR_R4 = bytes.fromhex("7c8802a6")
PATCHED = bytes.fromhex("48003f02")  # ba 0x3f00


class ScriptedStub:
    """A gdb stub of one CPU: registers as the test sets them, code written as a stub does, into guest memory."""

    def __init__(self, memory):
        self.memory = memory
        self.values = {}
        self.written = []

    def cpu(self, **values):
        """The CPU, stopped with these registers."""
        self.values = dict.fromkeys(("pc", "r3", "r5", "lr"), 0) | values
        return StoppedCpu("p01.01", self.memory, self, self)

    async def select(self, thread):
        assert thread == "p01.01"

    async def write_code(self, address, code):
        self.written.append(Range.sized(address, len(code)))
        self.memory.write(address, code)

    async def read(self, thread, *names):
        return [self.values[name] for name in names]

    async def write(self, thread, name, value):
        self.values[name] = value


@pytest.fixture
def stub():
    fd = os.memfd_create("ram")
    os.ftruncate(fd, RAM_BYTES)
    with GuestMemory([Segment(Range(0, RAM_BYTES), fd, 0)]) as memory:
        os.close(fd)
        memory.write(CLIENT, MFLR_R4 + bytes.fromhex("4bfffe75"))
        memory.write(KERNEL, KERNEL_BEGINS)
        call(memory, b"quiesce\0")
        yield ScriptedStub(memory)


def call(memory, name):
    memory.write(ARGUMENTS, struct.pack(">III", NAME, 0, 0))
    memory.write(NAME, name)


def reach(stage, cpu):
    return asyncio.run(stage.reached(cpu))


def patched(stub):
    """The stage in which the boot loader runs."""
    return reach(LoaderStarts(), stub.cpu(pc=0x20_0000, r5=CLIENT))


def test_grubs_way_ends_where_the_kernel_that_quiesces_begins(stub):
    first = LoaderStarts()
    assert first.address == 0x20_0000
    runs = patched(stub)
    assert stub.memory.read(CLIENT, 8) == PATCHED + bytes.fromhex("4bfffe75")
    page = stub.memory.read(0x3F00, 0x100)
    assert page == client_page(0x3F00, b"quie", CLIENT).code.ljust(0x100, b"\0")
    starts = reach(runs, stub.cpu(pc=runs.address, r3=ARGUMENTS, lr=KERNEL + 0x87_6543))
    assert starts == KernelStarts(KERNEL)
    assert stub.memory.read(CLIENT, 4) == MFLR_R4
    assert not any(stub.memory.read(0x3F00, 0x100))
    assert stub.values["pc"] == CLIENT
    assert reach(starts, stub.cpu(pc=KERNEL, r3=0x5000)) is None


def test_the_upper_halves_of_a_32_bit_callers_registers_mean_nothing(stub):
    runs = patched(stub)
    upper = 0xDEAD_BEEF << 32
    assert reach(runs, stub.cpu(r3=upper | ARGUMENTS, lr=upper | KERNEL + 4)) == KernelStarts(KERNEL)


def test_the_nearest_kernel_below_is_taken(stub):
    stub.memory.write(KERNEL + 0x10_0000, KERNEL_BEGINS)
    runs = patched(stub)
    assert reach(runs, stub.cpu(r3=ARGUMENTS, lr=KERNEL + 0x10_0004)) == KernelStarts(KERNEL + 0x10_0000)


@pytest.mark.parametrize("name", [b"quiet\0\0\0", b"quiesces", b"\0"])
def test_another_service_goes_its_way(stub, name):
    runs = patched(stub)
    call(stub.memory, name)
    stub.written.clear()
    assert reach(runs, stub.cpu(pc=runs.address, r3=ARGUMENTS, lr=KERNEL + 4)) is runs
    assert (stub.written, stub.values["pc"]) == ([], runs.address)


@pytest.mark.parametrize("arguments", [RAM_BYTES, RAM_BYTES - 2, 0xFFFF_FFFF])
def test_arguments_that_lie_nowhere_are_open_firmwares_to_refuse(stub, arguments):
    runs = patched(stub)
    assert reach(runs, stub.cpu(r3=arguments, lr=KERNEL)) is runs


def test_a_name_that_lies_nowhere_is_open_firmwares_to_refuse(stub):
    runs = patched(stub)
    stub.memory.write(ARGUMENTS, struct.pack(">I", RAM_BYTES - 4))
    stub.memory.write(RAM_BYTES - 4, b"quie")
    assert reach(runs, stub.cpu(r3=ARGUMENTS, lr=KERNEL)) is runs


@pytest.mark.parametrize(
    ("client", "why"),
    [
        (0, "r5 is 0x0 at its entry, which can't be"),
        (CLIENT + 2, r"r5 is 0x3da04c6 at its entry, which can't be"),
        (1 << 31, "r5 is 0x80000000 at its entry, which can't be"),
        (1 << 63 | CLIENT, "which can't be Open Firmware's client interface"),
        (RAM_BYTES, "r5 is 0x4000000 at its entry, where there is no memory"),
        (CLIENT + 4, "begins with 0x4bfffe75, SLOF's with mflr r4"),
    ],
)
def test_a_client_interface_that_is_not_slofs_is_refused(stub, client, why):
    with pytest.raises(MachineError, match=rf"boot loader can't be followed .*{why}.*give the kernel by --kernel"):
        reach(LoaderStarts(), stub.cpu(r5=client))
    assert not stub.written


@pytest.mark.parametrize("offset", [0, 47])
def test_memory_in_use_is_not_overwritten_by_the_patch(stub, offset):
    stub.memory.write(0x3F00 + offset, b"x")
    with pytest.raises(MachineError, match="the memory at 0x3f00 is in use"):
        patched(stub)
    assert not stub.written


@pytest.mark.parametrize("return_to", [0, 4, KERNEL - 4, RAM_BYTES, 0xFFFF_FFFC])
def test_a_caller_that_is_no_kernel_is_refused(stub, return_to):
    runs = patched(stub)
    with pytest.raises(MachineError, match=rf"quiesce is called from {return_to:#x}, and no Linux kernel begins"):
        reach(runs, stub.cpu(r3=ARGUMENTS, lr=return_to))


def test_a_kernel_is_not_looked_for_farther_than_one_is_large():
    fd = os.memfd_create("ram")
    os.ftruncate(fd, 1 << 30)
    with GuestMemory([Segment(Range(0, 1 << 30), fd, 0)]) as memory:
        os.close(fd)
        stub = ScriptedStub(memory)
        memory.write(CLIENT, MFLR_R4)
        memory.write(KERNEL, KERNEL_BEGINS)
        call(memory, b"quiesce\0")
        runs = patched(stub)
        with pytest.raises(MachineError, match="no Linux kernel begins"):
            reach(runs, stub.cpu(r3=ARGUMENTS, lr=KERNEL + (256 << 20)))
        assert reach(runs, stub.cpu(r3=ARGUMENTS, lr=KERNEL + (256 << 20) - 4)) == KernelStarts(KERNEL)


def test_a_big_endian_kernel_is_found_too(stub):
    stub.memory.write(KERNEL, BIG_ENDIAN_BEGINS)
    assert reach(patched(stub), stub.cpu(r3=ARGUMENTS, lr=KERNEL + 4)) == KernelStarts(KERNEL)


def test_a_kernel_that_is_entered_by_somebody_else_is_refused(stub):
    with pytest.raises(MachineError, match="entered with 0x3da04c4 in r5, where prom_init has 0"):
        reach(KernelStarts(KERNEL), stub.cpu(r5=CLIENT))


doublewords = st.integers(0, 2**64 - 1) | st.integers(0, RAM_BYTES + 0x20).map(lambda address: address & ~3)


@given(doublewords, doublewords, doublewords, st.binary(max_size=64), st.sampled_from([b"quiesce\0", b"quie"]))
def test_whatever_a_guest_says_it_is_followed_or_refused_and_nothing_else_is_written(r3, r5, lr, content, name):
    fd = os.memfd_create("ram")
    os.ftruncate(fd, RAM_BYTES)
    with GuestMemory([Segment(Range(0, RAM_BYTES), fd, 0)]) as memory:
        os.close(fd)
        stub = ScriptedStub(memory)
        if r5 <= RAM_BYTES - 4:
            memory.write(r5, MFLR_R4)
        call(memory, name)
        stage = LoaderStarts()
        try:
            stage = reach(stage, stub.cpu(r3=r3, r5=r5, lr=lr))
            memory.write(lr % RAM_BYTES // 0x1_0000 * 0x1_0000, content)
            stage = reach(stage, stub.cpu(r3=ARGUMENTS if r3 % 2 else r3, r5=r5, lr=lr))
        except MachineError as error:
            assert "boot loader can't be followed" in str(error)
        patch = Range(0x3F00, 0x3F30)
        assert all(patch.contains(piece) or piece == Range.sized(r5, 4) for piece in stub.written)
        assert isinstance(stage, LoaderStarts | LoaderRuns) or memory.read(stage.address, 4) == KERNEL_BEGINS[:4]


pages = st.integers(0, RAM_BYTES // 0x1_0000 - 1).map(lambda page: page * 0x1_0000)
begins = st.sampled_from([KERNEL_BEGINS, BIG_ENDIAN_BEGINS, KERNEL_BEGINS[:12]]) | st.binary(max_size=64)


@given(pages, st.integers(0, 0xFFFF), st.lists(st.tuples(pages, begins), max_size=3), st.sampled_from([0, CLIENT]))
def test_whoever_quiesces_is_followed_to_a_kernel_below_or_refused(page, offset, contents, r5):
    fd = os.memfd_create("ram")
    os.ftruncate(fd, RAM_BYTES)
    with GuestMemory([Segment(Range(0, RAM_BYTES), fd, 0)]) as memory:
        os.close(fd)
        stub = ScriptedStub(memory)
        memory.write(CLIENT, MFLR_R4)
        runs = patched(stub)
        for address, content in contents:
            memory.write(address, content)
        call(memory, b"quiesce\0")
        try:
            starts = reach(runs, stub.cpu(r3=ARGUMENTS, lr=page + offset))
            assert memory.read(starts.address, 16) in (KERNEL_BEGINS[:16], BIG_ENDIAN_BEGINS)
            assert 0 < starts.address <= page
            assert reach(starts, stub.cpu(r5=r5)) is None
            assert r5 == 0
        except MachineError as error:
            assert "boot loader can't be followed" in str(error)
        assert all(piece.start in (0x3F00, CLIENT) for piece in stub.written)


@pytest.mark.parametrize("stage", [LoaderStarts(), LoaderRuns(CLIENT, client_page(0x3F00, b"quie", CLIENT))])
def test_what_is_waited_for_can_be_told(stage):
    assert "boot loader" in stage.awaited
    assert KernelStarts(KERNEL).awaited == "the kernel to start at 0x2000000, where it begins"


def test_slofs_tree_has_room_up_to_the_end_of_memory_but_not_more_than_qemu_gives_it(stub):
    assert asyncio.run(boot_tree_place(stub.cpu(r3=RAM_BYTES - 0x1_0000))) == TreePlace(RAM_BYTES - 0x1_0000, 0x1_0000)
    assert asyncio.run(boot_tree_place(stub.cpu(r3=0x10_0000))) == TreePlace(0x10_0000, 0x20_0000)
    assert asyncio.run(boot_tree_place(stub.cpu(r3=RAM_BYTES))) == TreePlace(RAM_BYTES, 0)


async def run_patch(name):
    """Call a service by way of the patch; returns the registers where it goes on or stops, and those before."""
    client = 0x800_0000
    page = client_page(0x3F00, b"quie", client)
    async with Connections() as qemu:
        (thread, *_others) = await qemu.gdb.threads()
        await qemu.gdb.select(thread)
        for address, content in (
            (page.address, page.code),
            (client, PATCHED),
            (ARGUMENTS, struct.pack(">I", NAME)),
            (NAME, name),
        ):
            await qemu.gdb.write_code(address, content)
        before = {f"r{number}": 0x100 + number for number in range(32)} | {"lr": 0x1234_5678, "r3": ARGUMENTS}
        for register, value in before.items():
            await qemu.registers.write(thread, register, value)
        await qemu.registers.write(thread, "pc", client)
        for _instruction in range(len(page.code) // 4 + 1):
            await qemu.gdb.step(thread)
            (pc,) = await qemu.registers.read(thread, "pc")
            if pc in (page.stop_address, client + 4):
                break
        after = dict(zip(before, await qemu.registers.read(thread, *before), strict=True))
        return pc - client, {name for name in before if after[name] != before[name]}, after


@pytest.mark.parametrize("name", [b"quiesce\0", b"quie"])
def test_the_patch_stops_at_quiesce_with_its_arguments(name):
    where, changed, _after = asyncio.run(run_patch(name))
    assert where == 0x3F18 - 0x800_0000
    assert changed <= {"r11", "r12"}


@pytest.mark.parametrize("name", [b"claim\0\0\0", b"write\0\0\0", b"quit"])
def test_the_patch_lets_any_other_service_go_on_as_if_it_were_not_there(name):
    where, changed, after = asyncio.run(run_patch(name))
    assert where == 4
    assert changed <= {"r4", "r11", "r12"}
    assert after["r4"] == 0x1234_5678
