"""The machine's CPUs: what the platform calls each, and all their registers at a crash.

The steps "handover" and "preserve" of docs/architecture.md.
"""

from collections.abc import Mapping, Sequence
from functools import partial

from fadump.abi.registers import CpuRegisters
from fadump.errors import MachineError
from fadump.machine.qemu.board import Board
from fadump.machine.qemu.link import QemuLink
from fadump.machine.qemu.registers import cpu_index, parse_info_registers
from fadump.memory.devicetree import DeviceTree


async def name_cpus(link: QemuLink, board: Board, tree: DeviceTree) -> dict[str, int]:
    """The platform's name of each CPU that the tree has, by the stub's, which counts QEMU's CPU indices from 1."""
    core_ids = [cpu.get("props", {}).get("core-id") for cpu in await link.execute("query-cpus-fast")]
    names = board.cpu_ids(tree, core_ids)
    return {thread: name for thread, name in zip(await link.gdb.threads(), names, strict=True) if name is not None}


async def shown_registers(link: QemuLink, thread: str) -> Mapping[str, int]:
    """What the monitor shows of one CPU."""
    return parse_info_registers(await link.monitor("info registers -a"))[cpu_index(thread)]


async def plug_core(link: QemuLink, device: Mapping[str, object], named: Mapping[str, int]) -> dict[str, int]:
    """Plug a core behind all others on pseries; returns what CPUs are called then: Linux numbers it as QEMU does.

    :raises MachineError: QEMU refuses it.
    """
    await link.execute("device_add", device)
    return {thread: named.get(thread, cpu_index(thread)) for thread in await link.gdb.threads()}


async def read_cpus(link: QemuLink, board: Board, cpu_ids: Mapping[str, int]) -> Sequence[CpuRegisters]:
    """The registers of those that belong in a dump, in the order of their names.

    :raises MachineError: the guest runs.
    """
    # QEMU answers once it has let what its devices had in flight come to its end.
    if (await link.execute("query-status"))["running"]:
        raise MachineError("the guest runs, its CPUs can't be read")
    monitor = parse_info_registers(await link.monitor("info registers -a"))
    shown = dict(zip(await link.gdb.threads(), monitor, strict=True))
    return [
        await link.registers.read_all(thread, cpu_id, shown[thread], partial(link.monitor, cpu_index=cpu_index(thread)))
        for thread, cpu_id in sorted(cpu_ids.items(), key=lambda numbered: numbered[1])
        if thread in shown and board.is_online(shown[thread])  # else it has been unplugged
    ]
