"""How much boot memory a capture boot needs: a sum of a few terms, each with its reason.

The step "capture boot" of docs/architecture.md. A capture kernel has boot memory and no more, and describes all RAM:

* **kernel**: its image (code, data, bss), and what firmware and its early boot take, whatever the RAM;
* **struct pages**: 64 bytes for each page of all RAM (mm/sparse-vmemmap.c): 1 MiB a GiB with pages of 64 KiB, 16 MiB a
  GiB with 4 KiB;
* **per-CPU memory**: areas, stacks and kernel threads of each CPU that is brought up;
* **hash tables**: of directory entries and inodes (fs/dcache.c, fs/inode.c). They are sized by the memory that isn't
  reserved (mm/mm_init.c alloc_large_system_hash(), arch_reserved_kernel_pages()): in a capture boot by boot memory;
* **initrd**: as it is loaded, and unpacked, which is more with larger pages;
* **user space**: its processes, slabs, and so much page cache that programs aren't read from the disk all the time.

The last two are not needed at the same time: an initrd's memory is given back when the system's own root is mounted.
So user space needs what is more than that, and at least what the kernel itself works with meanwhile. Where dumps are
saved in the initrd (kdump-utils, openSUSE), both are needed.

User space is no step but a slope: with less, a capture boot first becomes slow, then kills processes. Where a system
was measured, what it needs there is taken instead of the default.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from types import MappingProxyType

from fadump.abi.platform import Platform
from fadump.kernel.plan.boot_memory import LARGEST_SHARE
from fadump.kernel.traits import GIB, KIB, MIB, align_up, least_boot_memory_bytes

USER_SPACE_BYTES = MappingProxyType({4 * KIB: 70 * MIB, 64 * KIB: 92 * MIB})
"""A Debian with systemd that saves with ``fadump capture``, by the page's size: each file, stack and slab takes whole
pages."""
_WORKING_BYTES = MappingProxyType({4 * KIB: 8 * MIB, 64 * KIB: 12 * MIB})
"""Slabs, kernel threads and the kernel's reserve while an initrd is unpacked."""
PER_CPU_BYTES = MappingProxyType({4 * KIB: MIB, 64 * KIB: 3 * MIB})
"""Of each CPU, by the page's size."""
_EARLY_PER_CPU_BYTES = 320 * KIB
"""Of that what is taken before anything else: its area, its PACA, its first stacks."""
KERNEL_BYTES = 40 * MIB
"""Where nothing is known of the kernel."""
UNPACKED = MappingProxyType({4 * KIB: 3.2, 64 * KIB: 3.6})
"""What an initrd unpacks to, times its size, where that isn't known: Debian's, by gzip. kdump-utils reckons with 3."""
MARGIN = 4
"""A quarter more than is needed is recommended."""
STEP_BYTES = 64 * MIB
_STRUCT_PAGE_BYTES = 64
_BUCKET_BYTES = 8
_HASH_SCALES = (13, 14)
"""One bucket for so many bytes, as a power of two: directory entries, inodes."""
_ADAPT_BYTES = 64 * GIB
"""ADAPT_SCALE_BASE: beyond it tables grow half as fast as memory."""


@dataclass(frozen=True, slots=True)
class CaptureSystem:
    """What a system's need depends on beside its RAM and CPUs; ``initrd_bytes`` is packed and unpacked.

    ``user_space_bytes`` is what the system needs on its own root; ``saves_in_initrd``: it has none.
    """

    page_bytes: int = 64 * KIB
    kernel_bytes: int = KERNEL_BYTES
    initrd_bytes: int = 0
    user_space_bytes: int = USER_SPACE_BYTES[64 * KIB]
    saves_in_initrd: bool = False

    def with_pages_of(self, page_bytes: int) -> "CaptureSystem":
        """The same system on a kernel with other pages: an estimate, by what Debian needs with either."""
        share = USER_SPACE_BYTES[page_bytes] / USER_SPACE_BYTES[self.page_bytes]
        return replace(self, page_bytes=page_bytes, user_space_bytes=int(self.user_space_bytes * share))


@dataclass(frozen=True, slots=True)
class CaptureNeed:
    """What a capture boot needs, by what needs it: the terms of this module's docstring."""

    kernel_bytes: int
    struct_pages_bytes: int
    per_cpu_bytes: int
    hash_tables_bytes: int
    initrd_bytes: int
    user_space_bytes: int

    @property
    def size_bytes(self) -> int:
        """The sum."""
        return sum(term_bytes for _name, term_bytes in self.named())

    def named(self) -> Iterator[tuple[str, int]]:
        """Each term as people call it, and its bytes."""
        yield "kernel and firmware", self.kernel_bytes
        yield "struct pages of all RAM", self.struct_pages_bytes
        yield "per-CPU memory", self.per_cpu_bytes
        yield "hash tables", self.hash_tables_bytes
        yield "the initrd, packed and unpacked", self.initrd_bytes
        yield "user space and its page cache", self.user_space_bytes


def capture_need(system: CaptureSystem, ram_bytes: int, cpus: int) -> CaptureNeed:
    """What a system needs with so much RAM and so many CPUs."""
    struct_pages = struct_pages_bytes(ram_bytes, system.page_bytes)
    per_cpu = cpus * PER_CPU_BYTES[system.page_bytes]
    user_space = _user_space_bytes(system)
    rest = system.kernel_bytes + struct_pages + per_cpu + system.initrd_bytes + user_space
    return CaptureNeed(
        kernel_bytes=system.kernel_bytes,
        struct_pages_bytes=struct_pages,
        per_cpu_bytes=per_cpu,
        hash_tables_bytes=hash_tables_bytes(rest),
        initrd_bytes=system.initrd_bytes,
        user_space_bytes=user_space,
    )


def _user_space_bytes(system: CaptureSystem) -> int:
    """What user space needs beside an initrd, or the kernel while it unpacks that."""
    if system.saves_in_initrd or not system.initrd_bytes:
        return system.user_space_bytes
    return max(_WORKING_BYTES[system.page_bytes], system.user_space_bytes - system.initrd_bytes)


def early_bytes(ram_bytes: int, page_bytes: int, cpus: int, own_bytes: int) -> int:
    """What a kernel with so much memory of its own has taken of it by the time that it counts what is left (MemTotal),
    beside its image: for all RAM, for its CPUs so far, for hash tables."""
    return struct_pages_bytes(ram_bytes, page_bytes) + cpus * _EARLY_PER_CPU_BYTES + hash_tables_bytes(own_bytes)


def struct_pages_bytes(ram_bytes: int, page_bytes: int) -> int:
    """What describes so much RAM."""
    return -(-ram_bytes // page_bytes) * _STRUCT_PAGE_BYTES


def hash_tables_bytes(memory_bytes: int) -> int:
    """The largest hash tables of a kernel with so much memory of its own."""
    halvings = 0
    limit = _ADAPT_BYTES
    while limit < memory_bytes:
        limit <<= 2
        halvings += 1
    return sum(_power_of_two(memory_bytes >> scale + halvings) * _BUCKET_BYTES for scale in _HASH_SCALES)


def recommended_bytes(platform: Platform, need_bytes: int, ram_bytes: int) -> int | None:
    """What to give a system that needs so much: a quarter more, in whole steps, at least what FADump takes on this
    platform. None if that is more than Linux lets crashkernel= have of so much RAM."""
    size_bytes = max(least_boot_memory_bytes(platform), align_up(need_bytes + need_bytes // MARGIN, STEP_BYTES))
    return None if size_bytes > ram_bytes // LARGEST_SHARE else size_bytes


def _power_of_two(number: int) -> int:
    """roundup_pow_of_two()."""
    return 1 << max(0, number - 1).bit_length()
