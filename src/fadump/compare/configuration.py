"""The configurations to compare: machines, kernels and command lines, as factors with values.

A configuration has everything that a guest's FADump depends on. Sizes are MiB, multiples of 256 as for QEMU's pseries.
"""

import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from functools import cache
from typing import Any

from fadump.abi.platform import Platform
from fadump.covering import Covering
from fadump.kernel.image.content import seeded
from fadump.kernel.traits import KERNEL_VERSIONS, MIB, KernelTraits, Mmu
from fadump.kit.command_line import INIT_PATH
from fadump.machine.qemu.config import Dimm
from fadump.memory.ranges import Range

_STEP_MIB = 256
_GIB_MIB = 1024
_MOST_HASH_MIB = 16384
"""The host must hold a guest's hash page table, which is a 128th of its memory."""
_MOST_SMALL_PAGES_MIB = 16384
"""An emulated processor takes long to write 64 bytes of struct page for every 4 KiB."""
_LEAST_POWERNV_MIB = 4096
_HIGHEST_DIMM_STEP = _GIB_MIB
_SERIES = ("6.12", "7.2", "6.1")
_PAGE_BYTES = {"64K": 0x10000, "4K": 0x1000}
_OFF = ("fadump=on fadump=off", "")
"""Command lines that switch FADump off."""
_CPU_MODELS = {Mmu.RADIX: "POWER9", Mmu.HASH: "POWER8"}


class Shape(StrEnum):
    """The layout of memory."""

    WHOLE = "whole"
    """One contiguous range."""
    NODES = "nodes"
    """Three contiguous NUMA nodes."""
    DIMM = "dimm"
    """The last part is a DIMM, right above the rest."""
    HOLE = "hole"
    """The last 512 MiB are a DIMM above a hole of at least 1 GiB."""
    EARLY_HOLE = "early hole"
    """All but the first 768 MiB is a DIMM above a hole, which large boot memory reaches beyond."""
    SMALL_FIRST = "small first block"
    """The same with a first block of 512 MiB."""


class Cpus(StrEnum):
    """How many CPUs there are."""

    TWO = "2"
    ONE = "1"
    FOUR = "4"
    TWO_OF_EIGHT = "2 of 8"
    """Six more can be plugged."""
    EIGHT = "8"
    TWO_OF_64 = "2 of 64"
    """As many as the kernel can have."""


class Ends(StrEnum):
    """What follows the first boot."""

    IN_PRODUCTION = "in production"
    CRASHED = "crashed"


@dataclass(frozen=True, slots=True)
class Configuration:
    """One machine with one kernel; ``fadump``, ``crashkernel``, ``reserve_mem`` and ``limit`` are each words of the
    command line, or empty."""

    platform: Platform
    series: str
    page_size: str
    mmu: Mmu
    memory_mib: int
    shape: Shape
    cpus: Cpus
    fadump: str
    crashkernel: str
    reserve_mem: str
    limit: str
    ends: Ends

    @property
    def words(self) -> str:
        """The part of the command line about memory and FADump."""
        disable = "disable_radix" if self.platform is Platform.POWERNV and self.mmu is Mmu.HASH else ""
        words = (self.fadump, self.crashkernel, self.reserve_mem, self.limit, disable)
        return " ".join(word for word in words if word)

    @property
    def cmdline(self) -> str:
        """The whole command line."""
        return f"console=hvc0 rdinit={INIT_PATH} panic=5 quiet {self.words}".strip()

    @property
    def title(self) -> str:
        """Its title in output."""
        cpus = "1 CPU" if self.cpus is Cpus.ONE else f"{self.cpus} CPUs"
        return (
            f"{self.platform} {self.series}/{self.page_size} {self.mmu} {self.memory_mib}M {self.shape}, {cpus}, "
            f"{self.ends}: {self.words or 'no words'}"
        )

    @property
    def key(self) -> str:
        """A short unique name."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:12]

    @property
    def traits(self) -> KernelTraits:
        """The kernel's traits in the model."""
        return replace(KERNEL_VERSIONS[self.series], page_bytes=_PAGE_BYTES[self.page_size])

    @property
    def cpu_model(self) -> str:
        """QEMU's name of the CPU."""
        return "POWER9" if self.platform is Platform.POWERNV else _CPU_MODELS[self.mmu]

    @property
    def cpu_count(self) -> int:
        """The number of CPUs that are present."""
        return int(self.cpus.split()[0])

    @property
    def max_cpus(self) -> int:
        """The number of possible CPUs."""
        return int(self.cpus.split()[-1])

    @property
    def crash_cpu(self) -> int:
        """The CPU that crashes: the last one, as it is often not the boot CPU."""
        return self.cpu_count - 1

    @property
    def nodes(self) -> tuple[int, ...]:
        """Bytes on each NUMA node."""
        mib = self.memory_mib - self._dimm_mib
        if self.shape is not Shape.NODES:
            return (mib * MIB,)
        first = mib // 2 // _STEP_MIB * _STEP_MIB
        return (first * MIB, _STEP_MIB * MIB, (mib - first - _STEP_MIB) * MIB)

    @property
    def dimms(self) -> tuple[Dimm, ...]:
        """DIMMs above the nodes' memory; in QEMU they begin at a multiple of 1 GiB."""
        if not self._dimm_mib:
            return ()
        base = self.memory_mib - self._dimm_mib
        address = -(-base // _HIGHEST_DIMM_STEP) * _HIGHEST_DIMM_STEP
        if self.shape is Shape.HOLE:
            address += _GIB_MIB
        return (Dimm(self._dimm_mib * MIB, address * MIB),)

    @property
    def memory(self) -> tuple[Range, ...]:
        """All memory."""
        ends = list(itertools.accumulate(self.nodes))
        nodes = [Range(end - size_bytes, end) for end, size_bytes in zip(ends, self.nodes, strict=True)]
        return (*nodes, *(dimm.range for dimm in self.dimms))

    @property
    def _dimm_mib(self) -> int:
        match self.shape:
            case Shape.DIMM:
                return (self.memory_mib - 1) % _GIB_MIB + 1
            case Shape.HOLE:
                return 2 * _STEP_MIB
            case Shape.EARLY_HOLE:
                return self.memory_mib - 3 * _STEP_MIB
            case Shape.SMALL_FIRST:
                return self.memory_mib - 2 * _STEP_MIB
        return 0

    def as_json(self) -> dict[str, Any]:
        """The configuration as JSON, for a file."""
        return asdict(self)


FACTORS: Mapping[str, tuple[object, ...]] = {
    "machine": tuple(itertools.product(Platform, Mmu, Ends)),
    "kernel": tuple(itertools.product(_SERIES, _PAGE_BYTES)),
    "memory_mib": (2304, 4096, 1536, 6144, 3072, 8448, 1280, 1024, 16384, 32768, 65536),
    "shape": tuple(Shape),
    "cpus": tuple(Cpus),
    "fadump": ("fadump=on", "fadump=nocma", "fadump=only", "fadump=on fadump=maybe", *_OFF),
    "crashkernel": (
        "crashkernel=512M",
        "",
        "crashkernel=1G@64M",
        "crashkernel=0x15001001",
        "crashkernel=1G-2G:384M,2G-:448M",
        "crashkernel=2G-4G:400M,4G-32G:800M@64M,32G-:1G",
        "crashkernel=1G,high crashkernel=128M,low",
        "crashkernel=1G,cma",
        "crashkernel=400M crashkernel=912M",
        "crashkernel=7G",
        "crashkernel=100M",
        "crashkernel=2G-1G:512M",
        "crashkernel=512M crashkernel=1G,cma",
    ),
    "reserve_mem": ("", "fadump_reserve_mem=400M", "fadump_reserve_mem=1200M"),
    "limit": ("", "mem=2G"),
}
"""The values of each factor, the more usual ones first.

The most important ones are combined in one factor: so each machine, crashed or not, is paired with each kernel and all
other values.
"""


def may_stand_together(values: Mapping[str, Any]) -> bool:
    """Leave out what QEMU has no machine for, what takes too long in emulation, and crashes without a dump."""
    memory_mib = values.get("memory_mib", _LEAST_POWERNV_MIB)
    machine, kernel = values.get("machine", (None, None, None)), values.get("kernel", (None, None))
    platform, mmu, ends = machine
    if platform is Platform.POWERNV and not _powernv_has(values, memory_mib):
        return False
    if platform is Platform.POWERNV and values.get("limit") and not _powernv_bears_a_limit(kernel[0], ends):
        return False
    if ends is Ends.CRASHED and values.get("fadump") in _OFF:
        return False
    if mmu is Mmu.HASH and memory_mib > _MOST_HASH_MIB:
        return False
    if kernel[-1] == "4K" and memory_mib > _MOST_SMALL_PAGES_MIB:
        return False
    return values.get("shape") is not Shape.DIMM or memory_mib > _GIB_MIB


_PLUGGABLE = (Cpus.TWO_OF_EIGHT, Cpus.TWO_OF_64)


def _powernv_has(values: Mapping[str, object], memory_mib: int) -> bool:
    whole = values.get("shape", Shape.WHOLE) is Shape.WHOLE
    return whole and memory_mib >= _LEAST_POWERNV_MIB and values.get("cpus") not in _PLUGGABLE


def _powernv_bears_a_limit(series: str | None, ends: Ends | None) -> bool:
    """Linux 6.1 crashes with ``mem=``: see :func:`fadump.kernel.plan.reserve.end_without_page`.

    6.12's capture kernel has an oops at OPAL's metadata (opal-core.c, opalcore_config_init()), which our firmware puts
    above the limit; skiboot's own are below it.
    """
    return series != "6.1" and ends is not Ends.CRASHED


def configurations(seed: str) -> Iterator[Configuration]:
    """The set of this seed, followed by more configurations."""
    for row in covering(seed).rows():
        yield _configuration(row)


@cache
def full_set(seed: str) -> tuple[Configuration, ...]:
    """The first of :func:`configurations`, which include every possible pair of values."""
    return tuple(_configuration(row) for row in covering(seed).covering_rows())


def covering(seed: str) -> Covering:
    """The rows of this seed."""
    return Covering(FACTORS, may_stand_together, seeded(seed))


def _configuration(row: tuple[object, ...]) -> Configuration:
    values: dict[str, Any] = dict(zip(FACTORS, row, strict=True))
    platform, mmu, ends = values.pop("machine")
    series, page_size = values.pop("kernel")
    return Configuration(platform, series, page_size, mmu, ends=ends, **values)
