"""The capture boot: what the crashed kernel and the firmware have left is checked, and becomes /proc/vmcore.

Step "capture boot" of docs/architecture.md. Linux arch/powerpc/kernel/fadump.c: fadump_reserve_crash_area(),
fadump_process(), is_fadump_header_compatible(); fs/proc/vmcore.c, vmcore_init(). A dump that can't be processed is
invalidated and its memory given back at once.
"""

from fadump.abi.linux import crash_info
from fadump.abi.linux.crash_header import CrashHeader, header_bytes
from fadump.abi.platform import Platform
from fadump.errors import AddressError
from fadump.kernel.calls import Steps
from fadump.kernel.ops import FadumpOps
from fadump.kernel.release import invalidate_release
from fadump.kernel.state import FadumpState
from fadump.kernel.traits import MIB, align_up
from fadump.kernel.vmcore import Registers, VmCore, cpu_note, lay_out, loads_of, whole_notes
from fadump.memory.ranges import Range, RangeSet

_P = "fadump: "
_OPPOSITE_MAGIC = int.from_bytes(crash_info.MAGIC.to_bytes(8, "big"), "little")
_EHDR_BYTES, _PHDR_BYTES = 64, 56
_NOTE_BUFFER_BYTES = 544
"""sizeof(note_buf_t): a CPU's note and a closing one."""


def reserve_crash_area(state: FadumpState) -> None:
    """Everything above boot memory is left alone until the dump is released."""
    state.log.pr_info(f"{_P}Firmware-assisted dump is active.")
    for region in state.system.memory.regions:
        if region.end >= state.boot_memory_top:
            start = max(region.start, state.boot_memory_top)
            state.log.pr_info(
                f"{_P}Reserving {(region.end - start) // MIB}MB of memory at {start:#016x} for preserving crash data"
            )


def process(state: FadumpState, ops: FadumpOps) -> Steps[VmCore | None]:
    """/proc/vmcore, or None if there is none: then the dump has been given up, or can't be read."""
    header = _header(state)
    cpus = None if header is None else ops.process(header)
    if header is None or cpus is None:
        yield from invalidate_release(state, ops)
        return None
    return _vmcore(state, header, cpus)


def _header(state: FadumpState) -> CrashHeader | None:
    """The crashed kernel's header, if this kernel can make anything of it."""
    if not state.header_address:
        state.log.pr_err(f"{_P}Crash info header is empty.")
        return None
    try:
        raw = state.memory.read(state.header_address, header_bytes(state.cpu_mask_bytes))
    except AddressError:  # Linux would take a machine check
        raw = bytes(header_bytes(state.cpu_mask_bytes))
    header = CrashHeader.decode(raw, state.cpu_mask_bytes)
    match header.magic:
        case crash_info.MAGIC:
            if (header.pt_regs_bytes, header.cpu_mask_bytes) == (CrashHeader().pt_regs_bytes, state.cpu_mask_bytes):
                return header
            state.log.pr_err(f"{_P}Fadump header size mismatch.")
        case crash_info.OLD_MAGIC:
            state.log.pr_err(f"{_P}Old magic number, can't process the dump.")
        case _ if header.magic == _OPPOSITE_MAGIC:
            state.log.pr_err(f"{_P}Endianness mismatch between the crashed and fadump kernels.")
        case _:
            state.log.pr_err(f"{_P}Fadump header is corrupted.")
    return None


def _vmcore(state: FadumpState, header: CrashHeader, cpus: list[Registers]) -> VmCore | None:
    page_bytes = state.traits.page_bytes
    memory = state.system.memory.regions
    headers_bytes = _EHDR_BYTES + _PHDR_BYTES * (2 + len(state.regions) + len(memory))
    counted = _counted_cpus(state, len(cpus))
    state.buffers_bytes = align_up(headers_bytes, page_bytes) + align_up(counted * _NOTE_BUFFER_BYTES, page_bytes)
    try:
        vmcoreinfo = state.memory.read(header.vmcoreinfo_address, min(header.vmcoreinfo_bytes, 2 * page_bytes))
    except AddressError:
        state.log.pr_warn("Kdump: vmcore not initialized")
        return None
    loads = list(loads_of(state.regions, state.copy_address, state.boot_memory_top, state.area, memory))
    ram = RangeSet(memory)
    if not all(ram.contains(Range.sized(load.address, load.size_bytes)) for load in loads):
        state.log.pr_warn("Kdump: vmcore not initialized")  # a read of it would fail
        return None
    notes = b"".join(cpu_note(registers) for registers in cpus) + whole_notes(vmcoreinfo)
    return lay_out(loads, notes, page_bytes)


def _counted_cpus(state: FadumpState, in_dump: int) -> int:
    """How many CPUs the buffer for notes is made for: with OPAL all threads, active or not."""
    return len(state.cpu_names) if state.platform is Platform.POWERNV else in_dump
