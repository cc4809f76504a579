"""Proof of the preserved hash page table, which is in no vmcore: it is compared in the machine.

It is looked at twice: at the crash, in another way than the firmware's copy is made, and when the capture kernel
releases its dump, after a reset and a whole boot.
"""

from dataclasses import dataclass

import numpy as np

from fadump.abi.pseries.dump_structure import SectionType
from fadump.errors import MachineError
from fadump.firmware.contract import PreservedDump
from fadump.machine.contract import MOST_LOOKED_AT, Machine
from fadump.memory.ranges import Range


@dataclass(frozen=True, slots=True)
class HashTableComparison:
    """How much of preserved hash page tables was compared with the machine's, and how much differs.

    ``not_compared`` is why that was not done, None: it was.
    """

    bytes_compared: int
    bytes_different: int
    not_compared: str | None = None


class HashTableProof:
    """Looks at a machine at its crash and when its dump is released; then ``result`` is known, if there is one."""

    def __init__(self) -> None:
        self.result: HashTableComparison | None = None
        self._table: bytes | None = None
        self._unreadable: str | None = None

    def crashed(self, machine: Machine) -> None:
        """Keep the machine's table, which is stopped."""
        self.result = self._unreadable = None
        try:
            self._table = machine.look_at_hash_table()
        except MachineError as error:
            self._table, self._unreadable = None, str(error)

    def released(self, machine: Machine, dump: PreservedDump) -> None:
        """Compare what lies where the kernel has been told that it is. Where there is no table, that is zeros."""
        if not dump.hash_tables:
            return
        if self._unreadable is not None:
            self.result = HashTableComparison(0, 0, self._unreadable)
            return
        told = [region for region in dump.regions if region.type == SectionType.HPTE and region.copied_bytes]
        places = [Range.sized(region.destination, region.copied_bytes) for region in told]
        places = [
            Range.sized(where.start, min(where.size_bytes, MOST_LOOKED_AT))
            for where in places
            if machine.memory.ram.contains(where)
        ]
        compared = sum(where.size_bytes for where in places)
        self.result = HashTableComparison(compared, sum(self._different(machine, where) for where in places))

    def _different(self, machine: Machine, where: Range) -> int:
        preserved = np.frombuffer(machine.memory.read(where.start, where.size_bytes), np.uint8)
        original = (self._table or b"")[: where.size_bytes].ljust(where.size_bytes, b"\0")
        return int(np.count_nonzero(preserved != np.frombuffer(original, np.uint8)))
