"""The CPUs' registers as the gdb stub shows them, under the names that PAPR gives them.

Step "preserve" of docs/architecture.md. The stub's target description numbers the registers; LoPAR's register
save area names them. Bytes come in the order of each CPU's own MSR[LE]: at a firmware call the calling CPU
is big-endian, an idle one usually is not.
"""

import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from typing import Literal

from fadump.abi.pseries.register_save_area import CpuRegisters
from fadump.errors import MachineError
from fadump.machine.qemu.gdb import GdbClient
from fadump.memory.devicetree import DeviceTree, Node

MSR_LE = 1 << 0
MSR_DR_IR = 1 << 4 | 1 << 5
MSR_PR = 1 << 14
_LPCR_EXIT_CAUSES = 0x1F << 12
"""PECE0 to PECE4 of POWER8; PDEE, HDEE, EEE, DEE and OEE of POWER9 and later."""
_FROM_MONITOR = frozenset({"CFAR", "DAR", "DSISR", "PVR", "SPRG0", "SPRG1", "SPRG2", "SPRG3", "SRR0", "SRR1", "VRSAVE"})
"""Better asked of the monitor: the stub of QEMU 7.2 shows the special purpose registers of its first CPU only, and a
CFAR that isn't kept up to date."""

_SAME_NAMES = """
    msr cr lr ctr xer fpscr vscr vrsave
    acop amr bescr ciabr dar dawr0 dawrx0 dpdes dsisr ebbhr ebbrr fscr iamr ic
    mmcr0 mmcr1 mmcr2 mmcra pid pir pmc1 pmc2 pmc3 pmc4 pmc5 pmc6 pspb purr pvr rpr siar sdar sier spurr
    sprg0 sprg1 sprg2 sprg3 srr0 srr1 tar texasr tfhar tfiar tir uamor vtb wort
"""
_GDB_TO_PAPR = {
    **{f"r{number}": f"GPR{number:02}" for number in range(32)},
    **{name: name.upper() for name in _SAME_NAMES.split()},
    "pc": "NIA",
    "spr_dscr": "DSCR",
    "spr_cfar": "CFAR",
    "spr_ctrl": "CTRL",
    "decr": "DEC",
}
"""What both sides have a name for. A register of QEMU's that is missing here is one that LoPAR doesn't name."""


class RegisterFile:
    """Reads and writes registers by the stub's names, for whichever CPU is asked about."""

    def __init__(self, gdb: GdbClient, numbers: Mapping[str, int]) -> None:
        self._gdb = gdb
        self._numbers = numbers
        self._papr = [(papr, numbers[name]) for name, papr in _GDB_TO_PAPR.items() if name in numbers]

    @classmethod
    async def describe(cls, gdb: GdbClient) -> "RegisterFile":
        """Learn the stub's register numbers; this comes before any other question (see :mod:`.gdb`)."""
        numbers: dict[str, int] = {}
        next_number = 0
        for annex in _included(await gdb.start()):
            for element in ET.fromstring(await gdb.description(annex)).iter("reg"):  # noqa: S314
                next_number = int(element.get("regnum", next_number))
                numbers.setdefault(element.get("name", ""), next_number)
                next_number += 1
        return cls(gdb, numbers)

    async def read(self, thread: str, *names: str) -> list[int]:
        """The values of registers of one CPU.

        :raises MachineError: the stub doesn't have one of them.
        """
        order = await self._byte_order(thread)
        return [int.from_bytes(await self._read_raw(self._numbers[name], name), order) for name in names]

    async def write(self, thread: str, name: str, value: int) -> None:
        """Set a 64-bit register of one CPU."""
        order = await self._byte_order(thread)
        await self._gdb.write_register(self._numbers[name], value.to_bytes(8, order))

    async def read_all(self, thread: str, cpu_id: int, monitor: Mapping[str, int]) -> CpuRegisters:
        """Every register of one CPU that PAPR names and that the stub or the monitor can show."""
        order = await self._byte_order(thread)
        values = {}
        for papr, number in self._papr:
            raw = await self._gdb.read_register(number)
            if raw is not None:
                values[papr] = int.from_bytes(raw, order)
        return CpuRegisters(cpu_id, values | {name: value for name, value in monitor.items() if name in _FROM_MONITOR})

    async def _byte_order(self, thread: str) -> Literal["little", "big"]:
        await self._gdb.select(thread)
        raw = await self._read_raw(self._numbers["msr"], "msr")
        # Read in the wrong order, LE would be bit 56 of the MSR, which no mode sets.
        return "little" if raw[0] & MSR_LE else "big"

    async def _read_raw(self, number: int, name: str) -> bytes:
        raw = await self._gdb.read_register(number)
        if raw is None:
            raise MachineError(f"QEMU's gdb stub can't show register {name}")
        return raw


def parse_info_registers(text: str) -> list[dict[str, int]]:
    """What the monitor's ``info registers -a`` shows, CPU by CPU in the order of their indices."""
    return [
        {name: int(value, 16) for name, value in re.findall(r"(\w+) +([0-9a-f]{8,16})\b", one_cpu)}
        for one_cpu in re.split(r"^CPU#\d+\r?$", text, flags=re.MULTILINE)[1:]
    ]


def is_online(monitor: Mapping[str, int]) -> bool:
    """Whether a CPU has been started and not stopped again, by RTAS start-cpu and stop-self.

    A CPU that is offline can't be woken: QEMU (hw/ppc/spapr_rtas.c, spapr_cpu_core.c) clears every exit cause of
    power saving in its LPCR. An online CPU that idles has them.
    """
    return bool(monitor["LPCR"] & _LPCR_EXIT_CAUSES)


def logical_cpu_ids(tree: DeviceTree) -> dict[int, int]:
    """Linux's logical CPU number of each interrupt server, which is QEMU's core-id plus thread.

    Linux numbers threads in the order of /cpus (arch/powerpc/kernel/setup-common.c, smp_setup_cpu_maps()).

    :raises FadumpError: no /cpus in the tree.
    """
    cpus = tree.find("/cpus")
    if cpus is None:
        raise MachineError("the device tree at handover has no /cpus")
    servers = [server for cpu in cpus.children if _is_cpu(cpu) for server in cpu.cells("ibm,ppc-interrupt-server#s")]
    return {server: logical for logical, server in enumerate(servers)}


def _is_cpu(node: Node) -> bool:
    return node.properties.get("device_type", b"").rstrip(b"\0") == b"cpu"


def _included(target: str) -> Sequence[str]:
    # Not parsed as XML: QEMU 7.2 uses the prefix xi without declaring it.
    return re.findall(r'<xi:include href="([^"]+)"', target)
