"""The traits of a platform and of a kernel, and numbers with their reasons.

Used before step "register" of docs/architecture.md, when the kernel reserves memory. Linux's files are those of 6.12,
and of 6.1 and 7.2 if those differ: arch/powerpc/kernel/fadump.c, arch/powerpc/platforms/pseries/rtas-fadump.[ch],
arch/powerpc/platforms/powernv/opal-fadump.[ch], arch/powerpc/include/asm/fadump-internal.h.

A kernel is described by its features, not by its version, as distributions backport changes to older kernels.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from fadump.abi.linux.crash_info import header_bytes, old_header_bytes
from fadump.abi.platform import Platform

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
U64 = (1 << 64) - 1
"""The mask of Linux's 64-bit numbers: larger results lose their upper bits."""

MAX_MEMORY_REGIONS = 128
"""FADUMP_MAX_MEM_REGS."""
_LARGEST_ALLOCATION_BYTES = 16 * MIB
"""ARCH_FORCE_MAX_ORDER: 8 with 64 KiB pages, 12 with 4 KiB pages."""
_RADIX_HUGE_PAGE_BYTES = 2 * MIB


def least_boot_memory_bytes(platform: Platform) -> int:
    """RTAS_FADUMP_MIN_BOOT_MEM, OPAL_FADUMP_MIN_BOOT_MEM."""
    return 320 * MIB if platform is Platform.PSERIES else 768 * MIB


def platform_file(platform: Platform) -> str:
    """The Linux file with the code for this platform."""
    return "rtas-fadump.c" if platform is Platform.PSERIES else "opal-fadump.c"


class Mmu(StrEnum):
    """How addresses are translated."""

    RADIX = "radix"
    HASH = "hash"


@dataclass(frozen=True, slots=True)
class KernelTraits:
    """A kernel. ``nr_cpus`` is CONFIG_NR_CPUS: the crash-info header has a bit for each.

    ``parameter_area``: it has an area for words that the capture kernel adds to its command line (683eab94da75).
    ``region_per_range``: on pseries every range of boot memory has a section (78d5cc15fb7d); without, only one at 0.
    ``first_kernel_writes_elfcorehdr``: after the crash-info header, which is the old one (until c6c5b14dac0d).
    ``extends_memory_limit``: ``mem=`` grows by the size of the reserved area (until f94f5ac07983).
    ``limits_to_16_mib``: what ``mem=`` leaves is rounded down to 16 MiB (5a799af95226); before, up to a page.
    ``bounded_wait``: a call that is busy for a minute fails ("powerpc/fadump: Add timeout to RTAS busy-wait loops", in
    6.12's stable releases; 6.1 waits forever).
    ``typed_pages``: _mapcount's top byte has a page's type, including slab and hugetlb (4ffca5a96678).
    ``small_interrupt_frames``: as the ELFv2 ABI allows (in v6.2).
    ``lists_vmemmap``: vmemmap_list has the blocks of struct pages also with radix (until 368a0590d954).
    ``exports_mmu``: VMCOREINFO has the MMU's kind and where vmalloc and vmemmap begin, and no list of vmalloc's areas.
    ``os_term_without_text``: ibm,os-term gets a null pointer instead of its text, as rtas_os_term() passes an argument
    that rtas_call() needs and rtas_call_unlocked() doesn't ("powerpc/fadump: invoke ibm,os-term with
    rtas_call_unlocked()", v6.6).
    ``names_rtas``: messages about RTAS calls begin with "rtas" (pr_fmt in arch/powerpc/kernel/rtas.c).
    ``refuses_crashkernel_of_all_ram``: then the default applies; without it the size is limited to a quarter of RAM.
    ``sized_cmdline``: stat(2) has the size of /proc/cmdline (941baf6febaa).
    ``skips_cma_suffix``: ``crashkernel=size,cma`` is an area for kdump, and another crashkernel= counts (35c18f2933c5).
    ``lends_aligned_part``: CMA gets the part of the area that it can have (6faeac507beb); before, all or nothing, so
    that the size of boot memory was rounded up for it.
    ``lends_late``: after the kernel's command line is logged (0a8321dde01f).
    ``parameters_above_min_rma``: with hash, words for the capture kernel are above what boot loaders use, and in boot
    memory (b7bb46062457).
    ``parameters_if_enabled``: there is no place for these words without FADump (0843ba458439).
    ``dumps_log_first``: kmsg_dump() has the log before the firmware hears of the crash (6ed833263985).
    ``generic_crashkernel``: kdump's memory is free memory, and ``mem=`` stays (e3185ee438c2).
    ``wraps_cmdline``: a long command line is logged as several lines ("init/main.c: Wrap long kernel cmdline when
    printing to logs", v6.19).
    ``kexec_directory``: kexec's files are in /sys/kernel/kexec, with links where they were ("kexec: move sysfs entries
    to /sys/kernel/kexec", v6.19).
    ``has_relative_base``: addresses in kallsyms are relative to one address, and not each to its own place (until
    "kallsyms: Get rid of kallsyms relative base", v7.0).
    ``says_compound_head``: VMCOREINFO's name of a member of struct page (until "mm: rename the 'compound_head' field in
    the 'struct page' to 'compound_info'", v7.1).
    ``counts_buffers``: MemTotal includes the buffers for notes and ELF core header ("powerpc: fadump: pair
    alloc_pages_exact() with free_pages_exact()", v7.1).
    ``huge_pages``: CONFIG_HUGETLB_PAGE; with it the alignment for CMA is not known yet when the size is rounded.
    """

    page_bytes: int = 64 * KIB
    nr_cpus: int = 64
    parameter_area: bool = True
    region_per_range: bool = True
    first_kernel_writes_elfcorehdr: bool = False
    sized_cmdline: bool = True
    extends_memory_limit: bool = False
    limits_to_16_mib: bool = True
    bounded_wait: bool = True
    typed_pages: bool = True
    small_interrupt_frames: bool = True
    lists_vmemmap: bool = False
    exports_mmu: bool = True
    os_term_without_text: bool = True
    names_rtas: bool = True
    refuses_crashkernel_of_all_ram: bool = True
    skips_cma_suffix: bool = False
    lends_aligned_part: bool = False
    lends_late: bool = False
    parameters_above_min_rma: bool = False
    parameters_if_enabled: bool = False
    dumps_log_first: bool = False
    generic_crashkernel: bool = False
    wraps_cmdline: bool = False
    kexec_directory: bool = False
    has_relative_base: bool = True
    says_compound_head: bool = True
    counts_buffers: bool = False
    huge_pages: bool = True

    @property
    def header_bytes(self) -> int:
        """Size of struct fadump_crash_info_header; its last member is a cpumask, in words of 8 bytes."""
        size_of = old_header_bytes if self.first_kernel_writes_elfcorehdr else header_bytes
        return size_of(align_up(self.nr_cpus, 64) // 8)

    @property
    def size_alignment_bytes(self) -> int:
        """CMA_MIN_ALIGNMENT_BYTES when the size of boot memory is rounded, or a page if it isn't.

        With huge pages it is a page, too, as pageblock_order is a variable then, and still 0.
        """
        return self.page_bytes if self.huge_pages or self.lends_aligned_part else _LARGEST_ALLOCATION_BYTES

    def cma_alignment_bytes(self, mmu: Mmu) -> int:
        """CMA_MIN_ALIGNMENT_BYTES when the reserved area is lent to user space, later in the boot."""
        return _RADIX_HUGE_PAGE_BYTES if self.huge_pages and mmu is Mmu.RADIX else _LARGEST_ALLOCATION_BYTES

    def max_regions(self, platform: Platform) -> int:
        """The most ranges that boot memory may have."""
        return 7 if platform is Platform.PSERIES and self.region_per_range else MAX_MEMORY_REGIONS

    def max_region_bytes(self, platform: Platform) -> int:
        """The largest size of one of them, limited by the firmware's size field, in whole pages."""
        return align_down(U64 if platform is Platform.PSERIES else 0xFFFF_FFFF, self.page_bytes)


LINUX_6_12 = KernelTraits()
"""Debian's 6.12.117."""
LINUX_6_1 = KernelTraits(
    parameter_area=False,
    region_per_range=False,
    first_kernel_writes_elfcorehdr=True,
    sized_cmdline=False,
    extends_memory_limit=True,
    limits_to_16_mib=False,
    bounded_wait=False,
    typed_pages=False,
    small_interrupt_frames=False,
    lists_vmemmap=True,
    exports_mmu=False,
    os_term_without_text=False,
    names_rtas=False,
    refuses_crashkernel_of_all_ram=False,
)
"""Debian's 6.1.176."""
LINUX_7_2 = KernelTraits(
    skips_cma_suffix=True,
    lends_aligned_part=True,
    lends_late=True,
    parameters_above_min_rma=True,
    parameters_if_enabled=True,
    dumps_log_first=True,
    generic_crashkernel=True,
    wraps_cmdline=True,
    kexec_directory=True,
    has_relative_base=False,
    says_compound_head=False,
    counts_buffers=True,
)
"""Debian's 7.2.12."""
KERNEL_VERSIONS = MappingProxyType({"6.1": LINUX_6_1, "6.12": LINUX_6_12, "7.2": LINUX_7_2})
"""Kernels by ``--kernel-version``, the oldest first."""
DEFAULT_VERSION = "6.12"
_RELEASE = re.compile(r"(\d{1,4})\.(\d{1,4})")
DISTRIBUTIONS_NR_CPUS = 2048
PAGE_BYTES = MappingProxyType({"4K": 4 * KIB, "64K": 64 * KIB})
"""Page sizes by ``--page-size``."""


def nearest_version(release: str) -> str:
    """The newest of :data:`KERNEL_VERSIONS` that is not newer than a kernel's release, such as ``6.8.0-31-generic``.

    A release older than all of them, or one that is no number, counts as the oldest, or as the default.
    """
    match = _RELEASE.match(release)
    if match is None:
        return DEFAULT_VERSION
    found = int(match[1]), int(match[2])
    oldest, *newer = KERNEL_VERSIONS
    return next((version for version in reversed(newer) if tuple(map(int, version.split("."))) <= found), oldest)


@dataclass(frozen=True, slots=True)
class Reason:
    """A number of a plan, with its reason; ``source`` is Linux's file and function.

    Numbers are bytes or physical addresses.
    """

    name: str
    number: int
    sentence: str
    source: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a kernel has no FADump. ``message`` is what Linux prints, empty if nothing."""

    sentence: str
    source: str
    message: str = ""


def align_down(value: int, alignment: int) -> int:
    """The largest multiple of ``alignment``, a power of two, that is not above ``value``."""
    return value & -alignment


def align_up(value: int, alignment: int) -> int:
    """The smallest multiple of ``alignment``, a power of two, that is not below ``value``, in 64 bits as in Linux."""
    return align_down(value + alignment - 1, alignment) & U64


def size_text(size_bytes: int) -> str:
    """A size in the largest unit that it is a multiple of, else in hex."""
    for shift, unit in ((40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")):
        if size_bytes and size_bytes % (1 << shift) == 0 and size_bytes >> shift < 1 << 16:
            return f"{size_bytes >> shift} {unit}"
    return f"{size_bytes:#x} bytes"
