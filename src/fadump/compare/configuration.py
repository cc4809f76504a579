"""What is compared: machines, kernels and command lines, each factor with its values.

A configuration says all that a guest's FADump depends on. Sizes are MiB, multiples of 256, as QEMU's pseries has it.
"""

import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

from fadump.abi.platform import Platform
from fadump.compare.covering import Covering
from fadump.kernel.image.content import seeded
from fadump.kernel.traits import LINUX_6_1, LINUX_6_12, MIB, KernelTraits, Mmu
from fadump.kit.initramfs import INIT_PATH
from fadump.machine.qemu.process import Dimm
from fadump.memory.ranges import Range

_STEP_MIB = 256
_GIB_MIB = 1024
_MOST_HASH_MIB = 16384
"""A guest's hash page table, a 128th of its memory, is the host's memory."""
_MOST_SMALL_PAGES_MIB = 16384
"""A page structure of 64 bytes for each 4 KiB adds up to a lot for an emulated processor to write."""
_LEAST_POWERNV_MIB = 4096
_HIGHEST_DIMM_STEP = _GIB_MIB
_TRAITS = {"6.12": LINUX_6_12, "6.1": LINUX_6_1}
_PAGE_BYTES = {"64K": 0x10000, "4K": 0x1000}
_OFF = ("fadump=on fadump=off", "")
"""Words that switch FADump off."""
_CPU_MODELS = {Mmu.RADIX: "POWER9", Mmu.HASH: "POWER8"}


class Shape(StrEnum):
    """How the memory lies."""

    WHOLE = "whole"
    """In one piece."""
    NODES = "nodes"
    """On three NUMA nodes, end to end."""
    DIMM = "dimm"
    """The last piece is a DIMM, right above the others."""
    HOLE = "hole"
    """The last 512 MiB are a DIMM above a hole of at least 1 GiB."""


class Cpus(StrEnum):
    """How many CPUs there are."""

    TWO = "2"
    ONE = "1"
    FOUR = "4"
    TWO_OF_EIGHT = "2 of 8"
    """Six more can be plugged."""


class Ends(StrEnum):
    """How it goes on after the first boot."""

    IN_PRODUCTION = "in production"
    CRASHED = "crashed"


@dataclass(frozen=True, slots=True)
class Configuration:
    """One machine with one kernel; of ``fadump``, ``crashkernel``, ``reserve_mem`` and ``limit`` each is words of the
    command line, or nothing."""

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
        """What the command line says about memory and FADump."""
        disable = "disable_radix" if self.platform is Platform.POWERNV and self.mmu is Mmu.HASH else ""
        words = (self.fadump, self.crashkernel, self.reserve_mem, self.limit, disable)
        return " ".join(word for word in words if word)

    @property
    def cmdline(self) -> str:
        """The whole command line."""
        return f"console=hvc0 rdinit={INIT_PATH} panic=5 quiet {self.words}".strip()

    @property
    def title(self) -> str:
        """As it is shown."""
        cpus = "1 CPU" if self.cpus is Cpus.ONE else f"{self.cpus} CPUs"
        return (
            f"{self.platform} {self.series}/{self.page_size} {self.mmu} {self.memory_mib}M {self.shape}, {cpus}, "
            f"{self.ends}: {self.words or 'no words'}"
        )

    @property
    def key(self) -> str:
        """A short name that only this configuration has."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:12]

    @property
    def traits(self) -> KernelTraits:
        """The kernel as the model knows it."""
        return replace(_TRAITS[self.series], page_bytes=_PAGE_BYTES[self.page_size])

    @property
    def cpu_model(self) -> str:
        """QEMU's name of the CPU."""
        return "POWER9" if self.platform is Platform.POWERNV else _CPU_MODELS[self.mmu]

    @property
    def cpu_count(self) -> int:
        """CPUs that are there."""
        return int(self.cpus.split()[0])

    @property
    def max_cpus(self) -> int:
        """CPUs that there can be."""
        return int(self.cpus.split()[-1])

    @property
    def crash_cpu(self) -> int:
        """The CPU that crashes: the last one, so that it is not always the one that boots."""
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
        """What is above the nodes' memory; QEMU has DIMMs from a multiple of 1 GiB on."""
        if not self._dimm_mib:
            return ()
        base = self.memory_mib - self._dimm_mib
        address = -(-base // _HIGHEST_DIMM_STEP) * _HIGHEST_DIMM_STEP
        if self.shape is Shape.HOLE:
            address += _GIB_MIB
        return (Dimm(self._dimm_mib * MIB, address * MIB),)

    @property
    def memory(self) -> tuple[Range, ...]:
        """All of it."""
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
        return 0

    def as_json(self) -> dict[str, Any]:
        """All of it, for a file."""
        return asdict(self)


FACTORS: Mapping[str, tuple[object, ...]] = {
    "machine": tuple(itertools.product(Platform, Mmu, Ends)),
    "kernel": tuple(itertools.product(_TRAITS, _PAGE_BYTES)),
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
    ),
    "reserve_mem": ("", "fadump_reserve_mem=400M", "fadump_reserve_mem=1200M"),
    "limit": ("", "mem=2G"),
}
"""The values that a row of the set may have, the more usual ones first.

Few values that matter much are one factor together: each machine, crashed or not, meets each kernel and all the rest.
"""


def may_stand_together(values: Mapping[str, Any]) -> bool:
    """Leave out what QEMU has no machine for, what takes too long when emulated, and crashes without a dump."""
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


def _powernv_has(values: Mapping[str, object], memory_mib: int) -> bool:
    whole = values.get("shape", Shape.WHOLE) is Shape.WHOLE
    return whole and memory_mib >= _LEAST_POWERNV_MIB and values.get("cpus") is not Cpus.TWO_OF_EIGHT


def _powernv_bears_a_limit(series: str | None, ends: Ends | None) -> bool:
    """6.1 dies of ``mem=``: see :func:`fadump.kernel.plan.reserve.end_without_page`.

    6.12's capture kernel takes an oops at OPAL's metadata (opal-core.c, opalcore_config_init()), which our firmware has
    above the limit; skiboot's own lie below.
    """
    return series != "6.1" and ends is not Ends.CRASHED


def configurations(seed: str) -> Iterator[Configuration]:
    """The set of this seed, then more of them."""
    for row in covering(seed).rows():
        yield _configuration(row)


def full_set(seed: str) -> list[Configuration]:
    """The first of :func:`configurations`, which have every pair of values that can stand together."""
    return [_configuration(row) for row in covering(seed).covering_rows()]


def covering(seed: str) -> Covering:
    """The rows of this seed."""
    return Covering(FACTORS, may_stand_together, seeded(seed))


def _configuration(row: tuple[object, ...]) -> Configuration:
    values: dict[str, Any] = dict(zip(FACTORS, row, strict=True))
    platform, mmu, ends = values.pop("machine")
    series, page_size = values.pop("kernel")
    return Configuration(platform, series, page_size, mmu, ends=ends, **values)
