"""The preserved hash page table of a run as a file: no vmcore has it, and Linux shows it to nobody.

Step "release" of docs/architecture.md: until then the capture kernel leaves it alone.
"""

from collections.abc import Iterator, Sequence

from fadump.abi.pseries.dump_structure import SectionType
from fadump.abi.registers import CpuRegisters
from fadump.firmware.contract import PreservedDump
from fadump.machine.contract import Machine
from fadump.memory.guest import GuestMemory
from fadump.memory.ranges import Range
from fadump.observer import Inspector
from fadump.run.output import OutputDirectory

_PIECE_BYTES = 1 << 20


class HashTableFile:
    """An inspector that writes the file, and then lets ``others`` look."""

    def __init__(self, output: OutputDirectory, others: Inspector | None) -> None:
        self._output = output
        self._others = others

    def crashed(self, machine: Machine, cpus: Sequence[CpuRegisters], crashing_cpu: int | None) -> None:
        if self._others is not None:
            self._others.crashed(machine, cpus, crashing_cpu)

    def released(self, machine: Machine, dump: PreservedDump) -> None:
        where = preserved_table(dump, machine.memory)
        if where is not None:
            self._output.take_hash_table(_pieces(machine.memory, where))
        if self._others is not None:
            self._others.released(machine, dump)


def preserved_table(dump: PreservedDump, memory: GuestMemory) -> Range | None:
    """Where the kernel has been told that the table is; None: nowhere in memory."""
    if not dump.hash_tables:
        return None
    for region in dump.regions:
        where = Range.sized(region.destination, region.copied_bytes)
        if region.type == SectionType.HPTE and where and memory.ram.contains(where):
            return where
    return None


def _pieces(memory: GuestMemory, where: Range) -> Iterator[bytes]:
    for at in range(where.start, where.end, _PIECE_BYTES):
        yield memory.read(at, min(_PIECE_BYTES, where.end - at))
