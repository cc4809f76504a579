"""What an embedded machine is made of."""

from dataclasses import dataclass, field
from functools import cached_property

from fadump.abi.platform import Platform
from fadump.kernel.model import KernelConfig
from fadump.memory.ranges import Range, RangeSet

_MIB = 1 << 20


@dataclass(frozen=True)
class EmbeddedConfig:
    """A machine; the command line goes to the kernel whole.

    ``memory`` are NUMA nodes and DIMMs, which begin at 0 and may have holes between them: the first ``nodes`` are nodes
    of their own, the others in the first one. ``cpus`` are threads, ``smt`` of which make a core, and up to
    ``max_cpus`` can be plugged. ``seed`` decides registers and content of memory.
    ``petitboot``: each boot goes through a small kernel that preserves dumps, as on powernv. ``later_kernel`` is the
    one that boots after a crash, if an update has put another one there.
    """

    cmdline: str
    platform: Platform = Platform.PSERIES
    memory: tuple[Range, ...] = (Range(0, 2048 * _MIB),)
    nodes: int = 1
    cpus: int = 2
    smt: int = 1
    max_cpus: int | None = None
    spare_cpus: int = 0
    """How many are plugged later."""
    radix: bool = True
    seed: str = "0"
    kernel: KernelConfig = field(default_factory=KernelConfig)
    later_kernel: KernelConfig | None = None
    petitboot: bool = False

    @cached_property
    def ram(self) -> RangeSet:
        """Where there is memory."""
        return RangeSet(self.memory)

    @property
    def cpu_ids(self) -> tuple[int, ...]:
        """The platform's names of the CPUs: logical numbers, with OPAL the PIRs, four to a core."""
        if self.platform is Platform.PSERIES:
            return tuple(range(self.cpus))
        return tuple(index // self.smt * max(4, self.smt) + index % self.smt for index in range(self.cpus))
