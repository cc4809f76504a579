"""The register table, and registers that guest instructions have filled, on a QEMU whose guest has not booted."""

import asyncio
import socket
import struct

import pytest
from qemu.qmp import QMPClient

from fadump.abi.pseries import register_names
from fadump.firmware.pseries.calls import REGISTERS_PER_CPU
from fadump.machine.qemu.gdb import GdbClient
from fadump.machine.qemu.register_sources import SOURCES, Missing
from fadump.machine.qemu.registers import RegisterFile, cpu_index, parse_info_registers, parse_printed

COMMAND = ["qemu-system-ppc64", "-machine", "pseries,cap-cfpc=broken,cap-sbbc=broken,cap-ibs=broken,cap-ccf-assist=off"]
COMMAND += ["-smp", "2", "-m", "256M", "-nodefaults", "-display", "none", "-S"]
CODE, DATA = 0x10000, 0x20000
PATTERN = bytes(range(0xA0, 0xB0))
INSTRUCTIONS = [
    0x7C20_18CE,  # lvx v1,0,r3
    0xC843_0000,  # lfd f2,0(r3)
    0xF061_0C96,  # xxlor vs3,vs33,vs33
    0x7C7D_03A6,  # mtspr AMR,r3
]
MSR = {"big": 1 << 63 | 0x0280_2000, "little": 1 << 63 | 0x0280_2001}  # SF, VEC, VSX, FP, and LE


class Connections:
    """A QEMU with its gdb stub and its monitor, for as long as the block runs."""

    async def __aenter__(self):
        pairs = [socket.socketpair() for _name in ("gdb", "qmp")]
        theirs = [pair[1] for pair in pairs]
        options = ["-chardev", f"socket,id=gdb,fd={theirs[0].fileno()}", "-gdb", "chardev:gdb"]
        options += ["-chardev", f"socket,id=qmp,fd={theirs[1].fileno()}", "-mon", "chardev=qmp,mode=control"]
        self._process = await asyncio.create_subprocess_exec(
            *COMMAND, *options, pass_fds=[end.fileno() for end in theirs], stdin=asyncio.subprocess.DEVNULL
        )
        for end in theirs:
            end.close()
        self._qmp = QMPClient("test")
        await self._qmp.connect(pairs[1][0])
        self.gdb = GdbClient(*await asyncio.open_connection(sock=pairs[0][0]), lambda _stop: None)
        self.registers = await RegisterFile.describe(self.gdb)
        return self

    async def __aexit__(self, *error):
        await self.gdb.close()
        await self._qmp.disconnect()
        self._process.kill()
        await self._process.wait()

    async def monitor(self, command, index=0):
        return await self._qmp.execute("human-monitor-command", {"command-line": command, "cpu-index": index})

    async def all_registers(self, thread):
        index = cpu_index(thread)
        shown = parse_info_registers(await self.monitor("info registers -a"))[index]
        return await self.registers.read_all(thread, index, shown, lambda command: self.monitor(command, index))


async def after_instructions(order):
    async with Connections() as qemu:
        first, second = await qemu.gdb.threads()
        await qemu.gdb.select(first)
        await qemu.gdb.write_code(DATA, PATTERN)
        await qemu.gdb.write_code(CODE, struct.pack(">4I" if order == "big" else "<4I", *INSTRUCTIONS))
        for name, value in (("r3", DATA), ("pc", CODE), ("msr", MSR[order])):
            await qemu.registers.write(first, name, value)
        for _instruction in INSTRUCTIONS:
            await qemu.gdb.step(first)
        return (await qemu.all_registers(first)).values, (await qemu.all_registers(second)).values


@pytest.mark.parametrize("order", ["big", "little"])
def test_what_instructions_load_is_what_is_read_in_either_byte_order(order):
    first, second = asyncio.run(after_instructions(order))
    doubleword, quadword = int.from_bytes(PATTERN[:8], order), int.from_bytes(PATTERN, order)
    high, low = quadword >> 64, quadword & (1 << 64) - 1
    assert first["NIA"] == CODE + 4 * len(INSTRUCTIONS)
    assert (first["VR01_HI"], first["VR01_LO"]) == (first["VSR33_HI"], first["VSR33_LO"]) == (high, low)
    assert (first["VSR03_HI"], first["VSR03_LO"]) == (high, low)
    assert first["FPR02"] == first["VSR02_HI"] == doubleword
    assert (first["AMR"], second["AMR"]) == (DATA, 0)
    assert first["PVR"] == second["PVR"] == 0x004E_1200
    assert list(first) == list(second) == [name for name in SOURCES if name in first]
    assert first["TB"] == second["TB"]


def test_every_register_that_can_be_read_is_read_of_every_cpu():
    first, second = asyncio.run(after_instructions("big"))
    readable = {name for name, source in SOURCES.items() if not isinstance(source, Missing)}
    assert set(first) == set(second) == readable  # of POWER9, QEMU's default


def test_the_table_is_lopars():
    assert list(SOURCES) == [*register_names.REGISTERS, *register_names.CHECKPOINTS]
    assert all(len(name) <= 8 for name in SOURCES)
    assert len(set(SOURCES)) == len(SOURCES) == 500
    assert REGISTERS_PER_CPU == 329


def test_what_the_monitor_prints():
    assert parse_printed("0x3d3937ef\r\n") == 0x3D39_37EF
    assert parse_printed("0\r\n") == 0
    assert parse_printed('unknown register\r\nTry "help print" for more information\r\n') is None
    assert (cpu_index("p01.01"), cpu_index("p01.0a")) == (0, 9)
