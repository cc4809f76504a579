"""The capture boot: what the crashed kernel and the firmware left is checked and becomes /proc/vmcore.

Step "capture boot" of docs/architecture.md. Linux arch/powerpc/kernel/fadump.c: fadump_reserve_crash_area(),
fadump_process(); fs/proc/vmcore.c, vmcore_init(). A dump that can't be processed is invalidated and its memory
released at once.
"""

from collections.abc import Sequence

from fadump.abi.elf import ELF_HEADER
from fadump.abi.linux.crash_info import CrashHeader, OldCrashHeader
from fadump.abi.platform import Platform
from fadump.errors import AddressError
from fadump.kernel import elfcorehdr
from fadump.kernel.calls import KernelPanicError, Steps
from fadump.kernel.crash_info import Header, is_compatible, read_header
from fadump.kernel.elfcorehdr import CPU_NOTES, NoCoreHeaderError, NotePlace, loads_of
from fadump.kernel.ops import FadumpOps
from fadump.kernel.printk import Printk
from fadump.kernel.register_area import NOTE_BUFFER_BYTES
from fadump.kernel.release import invalidate_release
from fadump.kernel.state import FadumpState
from fadump.kernel.traits import MIB, align_up
from fadump.kernel.vmcore import Registers, VmCore, cpu_note, lay_out, read_old_memory, whole_notes
from fadump.memory.ranges import Range

_P = "fadump: "


def reserve_crash_area(state: FadumpState) -> None:
    """Reserve everything above boot memory until the dump is released.

    :raises KernelPanicError: no memory is left; Linux crashes here before it can print anything.
    """
    if not state.boot_memory_top:
        raise KernelPanicError("no memory is left: all of it is reserved for a dump without boot memory")
    state.log.pr_info(f"{_P}Firmware-assisted dump is active.")
    reserve_above(state.log, state.system.memory.regions, state.boot_memory_top)


def reserve_above(log: Printk, memory: Sequence[Range], top: int) -> None:
    """fadump_reserve_crash_area() itself."""
    for region in memory:
        if region.end >= top:
            start = max(region.start, top)
            log.pr_info(
                f"{_P}Reserving {(region.end - start) // MIB}MB of memory at {start:#016x} for preserving crash data"
            )


def process_dump(state: FadumpState, ops: FadumpOps) -> Steps[VmCore | None]:
    """Make /proc/vmcore: fadump_process(). None if the dump can't be read or is discarded."""
    header = _compatible_header(state)
    cpus = None if header is None else ops.process(header)
    if header is None or cpus is None:
        yield from invalidate_release(state, ops)
        return None
    state.buffers_bytes = 0 if state.traits.counts_buffers else _buffers_bytes(state, header, len(cpus))
    try:
        return _make_vmcore(state, _find_elfcorehdr(state, header), cpus)
    except AddressError:
        pass
    except NoCoreHeaderError as error:
        state.log.pr_warn(str(error))
    state.log.pr_warn("Kdump: vmcore not initialized")
    return None


def _compatible_header(state: FadumpState) -> Header | None:
    """The crashed kernel's header, if this kernel can use it."""
    if not state.header_address and state.traits.first_kernel_writes_elfcorehdr:
        return None  # later kernels read what is at 0, as they check the virtual address
    header = read_header(state)
    if isinstance(header, CrashHeader) and not is_compatible(state, header):
        return None
    return header


def _find_elfcorehdr(state: FadumpState, header: Header) -> bytes:
    """The ELF core header, which this kernel makes, or the crashed one has left.

    :raises AddressError: it is not in memory.
    :raises NoCoreHeaderError: there is none.
    """
    if isinstance(header, OldCrashHeader):
        start = state.memory.read(header.elfcorehdr_address, ELF_HEADER.size_bytes)
        size_bytes = elfcorehdr.headers_bytes(elfcorehdr.header_count(start))
        return state.memory.read(header.elfcorehdr_address, size_bytes)
    loads = loads_of(state.regions, state.copy_address, state.boot_memory_top, state.area, state.ram)
    return elfcorehdr.encode([CPU_NOTES, NotePlace(header.vmcoreinfo_address, header.vmcoreinfo_bytes)], list(loads))


def _make_vmcore(state: FadumpState, headers: bytes, cpus: list[Registers]) -> VmCore:
    """vmcore_init(). The first PT_NOTE is for the CPUs' notes, made here; the others are read unchecked.

    :raises NoCoreHeaderError: it is not an ELF core header.
    """
    page_bytes = state.traits.page_bytes
    places, loads = elfcorehdr.decode(headers)
    own = [cpu_note(registers) for registers in cpus]
    sizes = (Range.sized(place.address, min(place.size_bytes, 2 * page_bytes)) for place in places[1:])
    found = [read_old_memory(state.memory, wanted) for wanted in sizes]
    notes = [b"".join(own), *map(whole_notes, found)]
    for _empty in range(notes.count(b"")):
        state.log.pr_warn("Warning: Zero PT_NOTE entries found")
    return lay_out(loads, b"".join(notes), page_bytes)


def _buffers_bytes(state: FadumpState, header: Header, cpus: int) -> int:
    """How much the kernel allocates for its ELF core header and notes; with OPAL, inactive threads also count."""
    page_bytes = state.traits.page_bytes
    counted = len(state.cpu_names) if state.platform is Platform.POWERNV else cpus
    notes_bytes = align_up(counted * NOTE_BUFFER_BYTES, page_bytes)
    if isinstance(header, OldCrashHeader):
        return notes_bytes
    headers = 2 + len(state.regions) + len(state.ram)
    return notes_bytes + align_up(elfcorehdr.headers_bytes(headers), page_bytes)
