"""Taking the dump: OPAL's memory, the kernel's ranges and the CPUs' registers are copied for the next kernel.

Step "preserve" of docs/architecture.md. Specification: skiboot, doc/mpipl.rst, and core/opal-dump.c, where the boot
after the crash makes metadata from what the SBE and hostboot left: post_mpipl_get_preserved_tags(),
post_mpipl_get_opal_data(), post_mpipl_arch_regs_data(). Its readers: Linux arch/powerpc/platforms/powernv/opal-fadump.c
and opal-core.c.

MPIPL can't say why something is missing: a range that was not copied is not in its result table, and a tag without
data is 0. ``error_flags`` is 1 then.

If no CPU is known to have crashed, as when the SBE ends the machine, the crashing PIR is 0: skiboot clears it at its
start, and nothing sets it. Then opalcore's first CPU is the one with PIR 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fadump.abi.powernv import cpu_data, kernel_metadata
from fadump.abi.powernv.hdat import RegionId
from fadump.abi.powernv.kernel_metadata import KernelMetadata
from fadump.abi.powernv.mpipl import MpiplMetadata, MpiplRegion, MpiplTag
from fadump.abi.powernv.opal import real_address
from fadump.abi.registers import CpuRegisters
from fadump.errors import FormatError
from fadump.firmware.contract import PreservedDump, PreservedRegion
from fadump.firmware.powernv.ranges import CopyRange, Registration
from fadump.firmware.powernv.tree import PowernvPlatform
from fadump.firmware.preserve import copy_aside, kept_ranges
from fadump.memory.guest import GuestMemory
from fadump.memory.ranges import Range, RangeSet

CPU_DATA_TYPE = 0
"""The ``type`` of CPU data among preserved regions: skiboot has no region number for it."""

_OPAL_METADATA_OFFSET = 0x100
_MISSING = 1


@dataclass(frozen=True, slots=True)
class TakenDump:
    """A dump; its tags are by :class:`MpiplTag`, 0 for those without data."""

    preserved: PreservedDump
    has_kernel: bool
    """Whether it has ranges of the kernel; without them no kernel uses or frees it."""


def opal_range(platform: PowernvPlatform) -> CopyRange:
    """The firmware's own entry in the table of ranges."""
    return CopyRange(platform.opal.start, platform.opal_copy.start, platform.opal.size_bytes)


def take_dump(
    platform: PowernvPlatform,
    registration: Registration,
    crashing_pir: int | None,
    memory: GuestMemory,
    cpus: Sequence[CpuRegisters],
) -> TakenDump:
    """Preserve what was registered, and what the firmware does by itself.

    ``cpus`` are those online at the crash; the machine's other threads are recorded as inactive.
    """
    crash_info = _crash_info(registration.kernel_tag, memory)  # before ranges are copied, as they may overwrite it
    opal = _copied(RegionId.OPAL_MEMORY, "copy of OPAL's memory", opal_range(platform), memory)
    kernel = [
        _copied(
            RegionId.KERNEL,
            "kernel memory, in place" if registered.is_in_place else "copy of boot memory",
            registered,
            memory,
        )
        for registered in registration.ranges
    ]
    registers = _write_cpu_data(platform, memory, cpus)
    structure, tags = _write_metadata(platform, registers, opal, crashing_pir or 0, memory)
    boot_memory = _boot_memory(kernel, registration.boot_memory_bytes)
    known = {**tags, MpiplTag.KERNEL: registration.kernel_tag, MpiplTag.BOOT_MEM: registration.boot_memory_bytes}
    preserved = PreservedDump(
        regions=(registers, opal, *kernel),
        structure=structure,
        boot_memory=boot_memory,
        keep=_keep(memory.ram, boot_memory, kernel, platform.areas),
        crash_info=crash_info,
        tags=tuple(known[tag] for tag in MpiplTag),
    )
    return TakenDump(preserved, bool(kernel))


def _copied(region: RegionId, name: str, wanted: CopyRange, memory: GuestMemory) -> PreservedRegion:
    fault = copy_aside(memory, wanted.source, wanted.destination, wanted.size_bytes)
    return PreservedRegion(
        type=region,
        source=wanted.source,
        requested_bytes=wanted.size_bytes,
        copied_bytes=0 if fault else wanted.size_bytes,
        destination=wanted.destination,
        error_flags=_MISSING if fault else 0,
        name=name,
    )


def _write_cpu_data(platform: PowernvPlatform, memory: GuestMemory, cpus: Sequence[CpuRegisters]) -> PreservedRegion:
    size_bytes = len(platform.pirs) * cpu_data.THREAD_BYTES
    place = Range.sized(platform.cpu_data.start, size_bytes)
    data = b""
    if memory.ram.contains(place):
        try:
            data = cpu_data.encode(cpus, platform.pirs)
        except ValueError:  # a CPU that isn't in the device tree
            pass
        else:
            memory.write(place.start, data)
    return PreservedRegion(
        type=CPU_DATA_TYPE,
        source=place.start,  # as in skiboot: registers have no source in memory
        requested_bytes=size_bytes,
        copied_bytes=len(data),
        destination=place.start,
        error_flags=0 if data else _MISSING,
        name="CPU data",
    )


def _write_metadata(
    platform: PowernvPlatform, registers: PreservedRegion, opal: PreservedRegion, crashing_pir: int, memory: GuestMemory
) -> tuple[bytes, dict[MpiplTag, int]]:
    """Write what the CPU and OPAL tags point to; return its bytes from the area's start, and the two tags."""
    of_cpus = MpiplMetadata(
        cpu_data_version=cpu_data.VERSION, cpu_data_bytes=cpu_data.THREAD_BYTES, regions=_regions(registers)
    )
    of_opal = MpiplMetadata(crashing_pir=crashing_pir & 0xFFFF_FFFF, regions=_regions(opal))
    structure = of_cpus.encode().ljust(_OPAL_METADATA_OFFSET, b"\0") + of_opal.encode()
    start = platform.metadata.start
    if not memory.ram.contains(Range.sized(start, len(structure))):
        return structure, {MpiplTag.CPU: 0, MpiplTag.OPAL: 0}
    memory.write(start, structure)
    return structure, {
        MpiplTag.CPU: start if of_cpus.regions else 0,
        MpiplTag.OPAL: start + _OPAL_METADATA_OFFSET if of_opal.regions else 0,
    }


def _regions(preserved: PreservedRegion) -> tuple[MpiplRegion, ...]:
    if preserved.error_flags:
        return ()
    return (MpiplRegion(preserved.source, preserved.destination, preserved.copied_bytes),)


def _boot_memory(kernel: Sequence[PreservedRegion], boot_memory_bytes: int) -> RangeSet:
    """What was copied from below the BOOT_MEM tag; everything that was copied, if the tag is not set.

    Linux uses the ranges in its own metadata; the tag is for kernels that only preserve a dump.
    """
    sources = RangeSet(
        Range.sized(region.source, region.copied_bytes) for region in kernel if region.source != region.destination
    )
    return sources & RangeSet([Range(0, boot_memory_bytes)]) if boot_memory_bytes else sources


def _keep(ram: RangeSet, boot_memory: RangeSet, kernel: Sequence[PreservedRegion], areas: Range) -> RangeSet:
    if not kernel:
        return ram & RangeSet([areas])  # no kernel will read the crashed one's memory
    destinations = [Range.sized(region.destination, region.copied_bytes) for region in kernel]
    return kept_ranges(ram, boot_memory, [areas, *destinations])


def _crash_info(kernel_tag: int, memory: GuestMemory) -> int | None:
    """The address of the crash-info header, by Linux's metadata."""
    address = real_address(kernel_tag)
    if not address or not memory.ram.contains(Range.sized(address, kernel_metadata.SIZE_BYTES)):
        return None
    try:
        metadata = KernelMetadata.decode(memory.read(address, kernel_metadata.SIZE_BYTES))
    except FormatError:
        return None
    return metadata.crash_info if metadata.crash_info and metadata.crash_info in memory.ram else None
