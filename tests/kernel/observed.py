"""What real kernels said and registered, as ``fadump run`` showed it on QEMU 7.2: a table for the model to reproduce.

Each row is one run: its options, and from its console.log and firmware.log what Linux printed about FADump and what the
firmware was asked for; rows of Linux 7.2 are from ``fadump compare``. ``cmdline`` is what the run's options came to,
without words that have no part in this.
"""

from dataclasses import dataclass, replace

from fadump.abi.platform import Platform
from fadump.kernel.plan.map_text import parse_map
from fadump.kernel.plan.reserve import System
from fadump.kernel.traits import LINUX_6_1, LINUX_6_12, LINUX_7_2, KernelTraits, Mmu
from tests.kernel.said import KERNEL_REGION

RTAS = "0x2fff0000..0x30000000 firmware"
CPU, HPTE, MEMORY, PARAMETERS = 0x1, 0x2, 0x11, 0x100


@dataclass(frozen=True)
class Observed:
    """One run. ``sections`` are (type, source, bytes, destination)."""

    options: str
    release: str
    kernel: KernelTraits
    system: System
    cmdline: str
    first_kernel: tuple[str, ...]
    capture_kernel: tuple[str, ...]
    sections: tuple[tuple[int, int, int, int], ...] = ()


def guest(memory, mmu=Mmu.RADIX, cpu_state_bytes=0x2980):
    """A pseries guest; its firmware saves the registers of two CPUs, if not told otherwise."""
    return System(Platform.PSERIES, parse_map(f"{memory}\n{RTAS}"), cpu_state_bytes, mmu=mmu)


OBSERVED = [
    Observed(
        "--memory 2G",
        "6.12.117",
        LINUX_6_12,
        guest("0..2G"),
        "fadump=on crashkernel=512M",
        (
            "Reserved 512MB of memory at 0x00000030000000 (System RAM: 2048MB)",
            "Initialized 0x20000000 bytes cma area at 768MB from 0x200101b0 bytes",
        ),
        ("Reserving 1536MB of memory at 0x00000020000000 for preserving crash data",),
        (
            (CPU, 0, 0x2980, 0x30000000),
            (HPTE, 0, 0, 0x30002980),
            (MEMORY, 0, 0x20000000, 0x30010000),
            (PARAMETERS, 0x7FFFF800, 0x800, 0x7FFFF800),
        ),
    ),
    Observed(
        "--memory 2G --cpu-model POWER8 --hpte-size 0",
        "6.12.117",
        LINUX_6_12,
        guest("0..2G", Mmu.HASH),
        "fadump=on crashkernel=512M",
        (
            "Reserved 512MB of memory at 0x00000030000000 (System RAM: 2048MB)",
            "Initialized 0x20000000 bytes cma area at 768MB from 0x200101b0 bytes",
        ),
        ("Reserving 1536MB of memory at 0x00000020000000 for preserving crash data",),
        (
            (CPU, 0, 0x2980, 0x30000000),
            (HPTE, 0, 0, 0x30002980),
            (MEMORY, 0, 0x20000000, 0x30010000),
            (PARAMETERS, 0x2DFFF800, 0x800, 0x2DFFF800),
        ),
    ),
    Observed(
        "--memory 6G --cmdline crashkernel=1G,cma",
        "6.12.117",
        LINUX_6_12,
        guest("0..6G"),
        "fadump=on crashkernel=512M crashkernel=1G,cma",
        (
            "Reserved 320MB of memory at 0x00000014000000 (System RAM: 6144MB)",
            "Initialized 0x14000000 bytes cma area at 320MB from 0x140101b0 bytes",
        ),
        ("Reserving 5824MB of memory at 0x00000014000000 for preserving crash data",),
        (
            (CPU, 0, 0x2980, 0x14000000),
            (HPTE, 0, 0, 0x14002980),
            (MEMORY, 0, 0x14000000, 0x14010000),
            (PARAMETERS, 0x17FFFF800, 0x800, 0x17FFFF800),
        ),
    ),
    Observed(
        "--memory 2G --node 1G --node 1G --dimm 1G@4G --cmdline crashkernel=2G-3G:300M,3G-:700M@64M",
        "6.12.117",
        LINUX_6_12,
        guest("0..2G\n4G..5G removable"),
        "fadump=on crashkernel=512M crashkernel=2G-3G:300M,3G-:700M@64M",
        (
            "Reserved 700MB of memory at 0x00000030000000 (System RAM: 3072MB)",
            "Initialized 0x2bc00000 bytes cma area at 768MB from 0x2bc101b0 bytes",
        ),
        (
            "Reserving 1348MB of memory at 0x0000002bc00000 for preserving crash data",
            "Reserving 1024MB of memory at 0x00000100000000 for preserving crash data",
        ),
        (
            (CPU, 0, 0x2980, 0x30000000),
            (HPTE, 0, 0, 0x30002980),
            (MEMORY, 0, 0x2BC00000, 0x30010000),
            (PARAMETERS, 0x13FFFF800, 0x800, 0x13FFFF800),
        ),
    ),
    Observed(
        "--memory 4G --kernel linux-6.1-4K --cmdline 'fadump=nocma crashkernel=0x15001001'",
        "6.1.176",
        replace(LINUX_6_1, page_bytes=0x1000),
        guest("0..4G"),
        "fadump=on crashkernel=512M fadump=nocma crashkernel=0x15001001",
        ("Reserved 336MB of memory at 0x00000015002000 (System RAM: 4096MB)",),
        ("Reserving 3759MB of memory at 0x00000015002000 for preserving crash data",),
        ((CPU, 0, 0x2980, 0x15002000), (HPTE, 0, 0, 0x15004980), (MEMORY, 0, 0x15002000, 0x15005000)),
    ),
    Observed(
        "--memory 3G --kernel linux-6.12-4K --cmdline 'fadump=nocma crashkernel=1G-2G:384M,2G-:448M'",
        "6.12.117",
        replace(LINUX_6_12, page_bytes=0x1000),
        guest("0..3G"),
        "fadump=on crashkernel=512M fadump=nocma crashkernel=1G-2G:384M,2G-:448M",
        ("Reserved 448MB of memory at 0x00000030000000 (System RAM: 3072MB)",),
        ("Reserving 2624MB of memory at 0x0000001c000000 for preserving crash data",),
        (
            (CPU, 0, 0x2980, 0x30000000),
            (HPTE, 0, 0, 0x30002980),
            (MEMORY, 0, 0x1C000000, 0x30003000),
            (PARAMETERS, 0xBFFFF800, 0x800, 0xBFFFF800),
        ),
    ),
    Observed(
        "--memory 2G --cpu-model POWER8 --hpte-size 0 --cpus 4 --max-cpus 8 --cmdline 'crashkernel=345M mem=1536M'",
        "6.12.117",
        LINUX_6_12,
        guest("0..2G", Mmu.HASH, 0xA5A0),
        "fadump=on crashkernel=512M crashkernel=345M mem=1536M",
        (
            "Reserved 345MB of memory at 0x00000015900000 (System RAM: 2048MB)",
            "Failed to init cma area for firmware-assisted dump,-22",
        ),
        ("Reserving 1703MB of memory at 0x00000015900000 for preserving crash data",),
        (
            (CPU, 0, 0xA5A0, 0x15900000),
            (HPTE, 0, 0, 0x1590A5A0),
            (MEMORY, 0, 0x15900000, 0x15910000),
            (PARAMETERS, 0x2DFFF800, 0x800, 0x2DFFF800),
        ),
    ),
    Observed(
        # The firmware refuses section 3, "source 0x100000000..0x100000000cb000000 is not all RAM": there was no dump.
        "--memory 1G --dimm 2G@4G --cmdline 'crashkernel=1G,cma fadump_reserve_mem=1200M'",
        "6.12.117",
        LINUX_6_12,
        guest("0..1G\n4G..6G removable"),
        "fadump=on crashkernel=512M crashkernel=1G,cma fadump_reserve_mem=1200M",
        (
            "Reserved 1200MB of memory at 0x0000010b000000 (System RAM: 3072MB)",
            "Initialized 0x4b000000 bytes cma area at 4272MB from 0x4b0101b0 bytes",
        ),
        (),
        (
            (CPU, 0, 0x2980, 0x10B000000),
            (HPTE, 0, 0, 0x10B002980),
            (MEMORY, 0, 0x40000000, 0x10B010000),
            (MEMORY, 0x100000000, 0xFFFFFFFFCB000000, 0x14B010000),
            (PARAMETERS, 0x17FFFF800, 0x800, 0x17FFFF800),
        ),
    ),
    Observed(
        "7.2/64K radix 65536M, 2 CPUs: fadump=only crashkernel=0x15001001",
        "7.2.12",
        LINUX_7_2,
        guest("0..64G"),
        "fadump=only crashkernel=0x15001001",
        (
            "Reserved 336MB of memory at 0x00000015010000 (System RAM: 65536MB)",
            "Initialized [0x15200000, 334MB] cma area from [0x15010000, 336MB] bytes",
        ),
        ("Reserving 65199MB of memory at 0x00000015010000 for preserving crash data",),
        (
            (CPU, 0, 0x2980, 0x15010000),
            (HPTE, 0, 0, 0x15012980),
            (MEMORY, 0, 0x15010000, 0x15020000),
            (PARAMETERS, 0xFFFFFF800, 0x800, 0xFFFFFF800),
        ),
    ),
    Observed(
        "7.2/4K hash 6144M, 4 CPUs: fadump=on crashkernel=1G,cma",
        "7.2.12",
        replace(LINUX_7_2, page_bytes=0x1000),
        guest("0..6G", Mmu.HASH, 0x52E0),
        "fadump=on crashkernel=1G,cma",
        (
            "Reserved 320MB of memory at 0x00000014000000 (System RAM: 6144MB)",
            "WARNING: Could not setup area to pass additional parameters!",
            "Initialized [0x14000000, 320MB] cma area from [0x14000000, 320MB] bytes",
        ),
        ("Reserving 5824MB of memory at 0x00000014000000 for preserving crash data",),
        ((CPU, 0, 0x52E0, 0x14000000), (HPTE, 0, 0, 0x140052E0), (MEMORY, 0, 0x14000000, 0x14006000)),
    ),
    Observed(
        "--platform powernv --memory 4G",
        "6.12.117",
        LINUX_6_12,
        System(Platform.POWERNV, parse_map("0..4G\n0x30000000..0x32c60000 firmware\n0xfe390000..4G firmware")),
        "fadump=on",
        (
            "Kernel metadata addr: 62c601b0",
            "Reserved 768MB of memory at 0x00000032c60000 (System RAM: 4096MB)",
            "Failed to init cma area for firmware-assisted dump,-22",
        ),
        ("Reserving 3328MB of memory at 0x00000030000000 for preserving crash data",),
        ((KERNEL_REGION, 0, 0x30000000, 0x32C60000),),
    ),
]
