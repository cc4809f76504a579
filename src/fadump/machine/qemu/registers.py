"""The CPUs' registers as QEMU shows them, under the names that PAPR gives them.

Step "preserve" of docs/architecture.md. The stub's target description numbers the registers; LoPAR's register
save area names them; :mod:`.register_sources` has where each comes from. Bytes come in the order of each CPU's own
MSR[LE]: at a firmware call the calling CPU is big-endian, an idle one usually is not. That holds for a vector register
as a whole: little-endian, its low doubleword comes first.
"""

import re
import xml.etree.ElementTree as ET
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Literal

from fadump.abi.registers import CpuRegisters
from fadump.errors import MachineError
from fadump.machine.qemu.gdb import GdbClient
from fadump.machine.qemu.register_sources import SOURCES, Missing, Printed, Shown, Source, Special, Stub
from fadump.memory.devicetree import DeviceTree

MSR_LE = 1 << 0
MSR_DR_IR = 1 << 4 | 1 << 5
MSR_PR = 1 << 14
_DOUBLEWORD = (1 << 64) - 1

Ask = Callable[[str], Awaitable[str]]
"""Asks the monitor about one CPU."""


class RegisterFile:
    """Reads and writes registers by the stub's names, for whichever CPU is asked about."""

    def __init__(self, gdb: GdbClient, numbers: Mapping[str, int], sizes: Mapping[int, int]) -> None:
        self._gdb = gdb
        self._numbers = numbers
        self.sizes = sizes
        """How many bytes each register has, by its number, in the order of the numbers."""

    @classmethod
    async def describe(cls, gdb: GdbClient) -> "RegisterFile":
        """Learn the stub's register numbers; this comes before any other question (see :mod:`.gdb`)."""
        numbers: dict[str, int] = {}
        sizes: dict[int, int] = {}
        next_number = 0
        for annex in _included(await gdb.start()):
            for element in ET.fromstring(await gdb.description(annex)).iter("reg"):  # noqa: S314
                next_number = int(element.get("regnum", next_number))
                numbers.setdefault(element.get("name", ""), next_number)
                sizes[next_number] = int(element.get("bitsize", 0)) // 8
                next_number += 1
        return cls(gdb, numbers, dict(sorted(sizes.items())))

    async def read(self, thread: str, *names: str) -> list[int]:
        """The values of registers of one CPU.

        :raises MachineError: the stub doesn't have one of them.
        """
        order = await self.byte_order(thread)
        return [int.from_bytes(await self._read_raw(self._numbers[name], name), order) for name in names]

    async def write(self, thread: str, name: str, value: int) -> None:
        """Set a 64-bit register of one CPU."""
        order = await self.byte_order(thread)
        await self._gdb.write_register(self._numbers[name], value.to_bytes(8, order))

    async def read_all(self, thread: str, cpu_id: int, shown: Mapping[str, int], ask: Ask) -> CpuRegisters:
        """Every register of one CPU that PAPR names and that QEMU can show, in PAPR's order.

        ``shown`` is what the monitor's ``info registers`` shows of this CPU, ``ask`` asks it for more.
        """
        order = await self.byte_order(thread)
        cpu = _OneCpu(self._gdb, self._numbers, order, shown, ask)
        values = {papr: await cpu.value(source) for papr, source in SOURCES.items()}
        return CpuRegisters(cpu_id, {papr: value for papr, value in values.items() if value is not None})

    async def byte_order(self, thread: str) -> Literal["little", "big"]:
        """The order that the stub has one CPU's registers in; it has that CPU selected then."""
        await self._gdb.select(thread)
        raw = await self._read_raw(self._numbers["msr"], "msr")
        # Read in the wrong order, LE would be bit 56 of the MSR, which no mode sets.
        return "little" if raw[0] & MSR_LE else "big"

    async def _read_raw(self, number: int, name: str) -> bytes:
        raw = await self._gdb.read_register(number)
        if raw is None:
            raise MachineError(f"QEMU's gdb stub can't show register {name}")
        return raw


class _OneCpu:
    """The CPU that the stub has selected; each of the stub's registers is asked for once."""

    def __init__(
        self,
        gdb: GdbClient,
        numbers: Mapping[str, int],
        order: Literal["little", "big"],
        shown: Mapping[str, int],
        ask: Ask,
    ) -> None:
        self._gdb = gdb
        self._numbers = numbers
        self._order = order
        self._shown = shown
        self._ask = ask
        self._stubs: dict[str, int | None] = {}

    async def value(self, source: Source) -> int | None:
        """A register's value; None if it can't be read."""
        match source:
            case Stub(name=name, shift=shift):
                value = await self._stub(name)
                return None if value is None else value >> shift & _DOUBLEWORD
            case Special(name=name):
                value = await self._stub(name)
                return await self._printed(name) if value is None and name in self._numbers else value
            case Shown(name=name):
                return self._shown.get(name)
            case Printed(names=names, bits=bits):
                return _joined([await self._printed(name) for name in names], bits)
            case Missing():
                return None

    async def _stub(self, name: str) -> int | None:
        if name not in self._stubs:
            raw = await self._gdb.read_register(self._numbers[name]) if name in self._numbers else None
            self._stubs[name] = None if raw is None else int.from_bytes(raw, self._order)
        return self._stubs[name]

    async def _printed(self, name: str) -> int | None:
        return parse_printed(await self._ask(f"print/x ${name}"))


def parse_info_registers(text: str) -> list[dict[str, int]]:
    """What the monitor's ``info registers -a`` shows, CPU by CPU in the order of their indices."""
    return [
        {name: int(value, 16) for name, value in re.findall(r"(\w+) +([0-9a-f]{8,16})\b", one_cpu)}
        for one_cpu in re.split(r"^CPU#\d+\r?$", text, flags=re.MULTILINE)[1:]
    ]


def parse_printed(text: str) -> int | None:
    """What the monitor's ``print/x`` printed: a number, or words if there is no such register."""
    try:
        return int(text, 16)
    except ValueError:
        return None


def cpu_index(thread: str) -> int:
    """QEMU's index of a CPU that the stub calls p01.02, in hex and from 1."""
    return int(thread.partition(".")[2], 16) - 1


def interrupt_servers(tree: DeviceTree) -> list[int]:
    """The interrupt server of each thread, in the order of /cpus, in which Linux numbers them.

    See Linux arch/powerpc/kernel/setup-common.c, smp_setup_cpu_maps().

    :raises FadumpError: there is no CPU in the tree.
    """
    servers = [server for cpu in tree.cpus() for server in cpu.cells("ibm,ppc-interrupt-server#s")]
    if not servers:
        raise MachineError("the device tree at handover has no CPU under /cpus")
    return servers


def _joined(values: Sequence[int | None], bits: int) -> int | None:
    joined = 0
    for value in values:
        if value is None:
            return None
        joined = joined << bits | value & (1 << bits) - 1
    return joined


def _included(target: str) -> Sequence[str]:
    # Not parsed as XML: QEMU 7.2 uses the prefix xi without declaring it.
    return re.findall(r'<xi:include href="([^"]+)"', target)
