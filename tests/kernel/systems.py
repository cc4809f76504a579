"""Systems for the model's tests: memory given in MiB, firmware's sizes as two CPUs need them."""

from fadump.abi.platform import Platform
from fadump.kernel.plan.cmdline import parse_command_line
from fadump.kernel.plan.memory_map import MemoryBlock, MemoryMap
from fadump.kernel.plan.reserve import System, reserve
from fadump.kernel.traits import GIB, MIB, Mmu
from fadump.memory.ranges import Range, RangeSet

CPU_STATE_BYTES = 0x2980


def memory(*blocks, firmware=(), later=()):
    """A map of blocks (start, end) in MiB."""
    found = [MemoryBlock(Range(start * MIB, end * MIB)) for start, end in blocks]
    return MemoryMap.of(found, RangeSet(firmware), RangeSet(later))


def pseries(*blocks, firmware=(), later=(), mmu=Mmu.RADIX, hpte_bytes=0, **others):
    found = memory(*(blocks or [(0, 2048)]), firmware=firmware, later=later)
    return System(Platform.PSERIES, found, CPU_STATE_BYTES, hpte_bytes, mmu, **others)


def powernv(*blocks, firmware=()):
    return System(Platform.POWERNV, memory(*(blocks or [(0, 4096)]), firmware=firmware))


def scattered(count, total_bytes, firmware_each=True):
    """So much memory in ``count`` blocks with holes between them, and as many ranges of the firmware's."""
    step = 2 * total_bytes // count
    blocks = [MemoryBlock(Range.sized(index * step, step // 2)) for index in range(count)]
    firmware = [Range.sized(index * step + GIB, MIB) for index in range(count if firmware_each else 0)]
    return System(Platform.PSERIES, MemoryMap.of(blocks, RangeSet(firmware), RangeSet()), CPU_STATE_BYTES)


def reserved(system, kernel, cmdline):
    """What a kernel reserves that is given this text as its command line."""
    return reserve(system, kernel, parse_command_line(cmdline, kernel))
