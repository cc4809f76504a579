"""Registering: the crash-info header is prepared, then the firmware is asked to take a dump at a crash.

Step "register" of docs/architecture.md. Linux arch/powerpc/kernel/fadump.c: fadump_reserve_mem(), register_fadump(),
init_fadump_header(), and registered_store(), which user space writes to.
"""

from fadump.abi.linux.crash_info import OldCrashHeader
from fadump.abi.platform import Platform
from fadump.errors import AddressError
from fadump.kernel import elfcorehdr
from fadump.kernel.calls import Errno, KernelPanicError, Steps
from fadump.kernel.crash_info import initial_header
from fadump.kernel.elfcorehdr import CPU_NOTES, NotePlace, loads_at_registration
from fadump.kernel.image.vmcoreinfo import note_area_bytes
from fadump.kernel.kstrtox import kstrtoint
from fadump.kernel.ops import FadumpOps
from fadump.kernel.plan.boot_memory import LARGEST_SHARE, boot_memory
from fadump.kernel.plan.cmdline import COMMAND_LINE_BYTES, parse_crashkernel
from fadump.kernel.plan.kdump import kdump_cma, kdump_reservation
from fadump.kernel.plan.reserve import (
    NOT_SUPPORTED,
    Reservation,
    extended_limit,
    has_room_for_parameters,
    mmu_in_use,
    parameter_area,
    place_area,
)
from fadump.kernel.printk import Level
from fadump.kernel.state import VMCOREINFO_NOTE, FadumpState
from fadump.kernel.traits import MIB, Refusal
from fadump.memory.ranges import Range, RangeSet

_P = "fadump: "


def reserve_memory(state: FadumpState, ops: FadumpOps) -> Steps[None]:
    """Reserve the dump area of a first kernel, or disable FADump; the log says which."""
    outcome = _find_area(state) if state.system.supported else NOT_SUPPORTED
    if isinstance(outcome, Refusal):
        state.enabled = False
        state.log.say(Level.ERR if state.system.supported else Level.INFO, f"{_P}{outcome.message}")
        return
    _use_reservation(state, outcome)
    if (yield from ops.setup_metadata()):
        state.enabled = False
        state.area = Range(0, 0)
        return
    ram_bytes = state.system.memory.ram_bytes
    state.log.pr_info(
        f"{_P}Reserved {outcome.area.size_bytes // MIB}MB of memory at {outcome.area.start:#016x} "
        f"(System RAM: {ram_bytes // MIB}MB)"
    )


def _find_area(state: FadumpState) -> Reservation | Refusal:
    """Compute boot memory's size, then find a place for the area."""
    system, traits = state.system, state.traits
    _log_size(state)
    boot = boot_memory(system.platform, system.memory, traits, state.command_line)
    if isinstance(boot, Refusal):
        return boot
    extend_limit(state, boot.size_bytes)
    return place_area(system, traits, state.command_line, boot)


def lend_area(state: FadumpState) -> None:
    """fadump_cma_init(): user space may use the copy of boot memory until the crash, if CMA accepts it."""
    if state.active or not state.area or state.command_line.nocma:
        return
    if state.traits.lends_aligned_part:
        _log_lent_part(state)
        return
    if state.cma is None:
        state.log.pr_err(f"{_P}Failed to init cma area for firmware-assisted dump,{Errno.EINVAL}")
        return
    state.log.pr_info(
        f"{_P}Initialized 0x{state.cma.size_bytes:x} bytes cma area at {state.cma.start // MIB}MB from "
        f"0x{state.area.size_bytes:x} bytes of memory reserved for firmware-assisted dump"
    )


def _log_lent_part(state: FadumpState) -> None:
    if state.cma is None:
        state.log.pr_warn(f"{_P}fadump_cma_init: Too less memory to give to CMA")
        return
    state.log.pr_info(
        f"{_P}Initialized [{state.cma.start:#x}, {state.cma.size_bytes // MIB}MB] cma area from "
        f"[{state.area.start:#x}, {state.boot_memory_bytes // MIB}MB] bytes of memory reserved for "
        "firmware-assisted dump"
    )


def reserve_for_kdump(state: FadumpState) -> None:
    """reserve_crashkernel(): a kernel without FADump reserves memory for a kernel that kexec loads."""
    reservation = kdump_reservation(state.system, state.traits, state.command_line, state.memory_limit)
    for said in reservation.messages:
        state.log.say(*said)
    state.kdump_area = reservation.area or Range(0, 0)
    state.memory_limit = reservation.memory_limit
    state.kdump_cma_bytes = reservation.cma_bytes


def reserve_kdump_cma(state: FadumpState, free: RangeSet) -> None:
    """kdump_cma_reserve(): memory that a kernel that kexec loads has too, and user space until then."""
    if state.kdump_cma_bytes:
        state.log.say(
            *kdump_cma(free, state.kdump_cma_bytes, state.traits, mmu_in_use(state.system, state.command_line))
        )


def setup_parameter_area(state: FadumpState) -> None:
    """fadump_setup_param_area(): a first kernel has one if the platform offers FADump, in some even if it is off."""
    traits = state.traits
    if traits.parameters_if_enabled and not state.enabled:
        return
    if not (state.system.supported and state.platform is Platform.PSERIES and traits.parameter_area):
        return
    if not state.area:
        found = parameter_area(state.system, traits, state.memory_limit, state.command_line, state.kdump_area, 0)
        state.parameter_area = None if found is None else found.start
    if state.parameter_area is None:
        if not has_room_for_parameters(state.system, state.command_line):
            return
        state.log.pr_warn(f"{_P}WARNING: Could not setup area to pass additional parameters!")
    else:
        state.memory.write(state.parameter_area, bytes(COMMAND_LINE_BYTES))


def extend_limit(state: FadumpState, boot_memory_bytes: int) -> None:
    """Extend mem= by the area, as some kernels do, and log it, even if no place is found later."""
    extended = extended_limit(state.system, state.traits, state.memory_limit, boot_memory_bytes)
    if extended != state.memory_limit:
        state.memory_limit = extended
        state.log.pr_info(f"Adjusted memory_limit for firmware-assisted dump, now {extended:#016x}")


def _log_size(state: FadumpState) -> None:
    """Log what fadump_calculate_reserve_size() says about the command line."""
    log, ram_bytes = state.log, state.system.memory.ram_bytes
    reserve_mem = state.command_line.fadump_reserve_mem
    if reserve_mem:
        log.pr_warn(f"{_P}'fadump_reserve_mem=' parameter is deprecated in favor of 'crashkernel=' parameter.")
    crashkernel = parse_crashkernel(state.command_line.text, ram_bytes, state.traits)
    if crashkernel.message is not None:
        log.say(*crashkernel.message)
    if crashkernel.problem is not None:
        return
    if reserve_mem:
        log.pr_info(f"{_P}Using 'crashkernel=' parameter for memory reservation.")
    most_bytes = ram_bytes // LARGEST_SHARE
    if crashkernel.size_bytes > most_bytes:
        log.pr_info(f"{_P}Adjusted boot memory size to {most_bytes // MIB}MB")


def _use_reservation(state: FadumpState, reservation: Reservation) -> None:
    boot = reservation.boot_memory
    state.area = reservation.area
    state.regions = boot.ranges
    state.boot_memory_bytes, state.boot_memory_top = boot.size_bytes, boot.top
    state.parameter_area = None if reservation.parameter_area is None else reservation.parameter_area.start
    state.cma = reservation.cma


def register_fadump(state: FadumpState, ops: FadumpOps) -> Steps[Errno]:
    """Prepare the crash-info header and ask the firmware to take a dump at a crash."""
    if not state.area:
        return Errno.ENODEV
    init_header(state)
    return (yield from ops.register())


def init_header(state: FadumpState) -> None:
    """Write the crash-info header, followed by the ELF core header if it is an old one."""
    header = initial_header(state)
    try:
        state.memory.write(state.header_address, header.encode())
        if isinstance(header, OldCrashHeader):
            state.memory.write(header.elfcorehdr_address, _make_elfcorehdr(state))
    except AddressError as error:
        raise KernelPanicError(f"BUG: Unable to handle kernel data access: {error}") from error


def _make_elfcorehdr(state: FadumpState) -> bytes:
    """fadump_create_elfcore_headers()."""
    loads = loads_at_registration(state.regions, state.copy_address, state.boot_memory_top, state.area, state.ram)
    vmcoreinfo = NotePlace(state.relocated(VMCOREINFO_NOTE), note_area_bytes(state.traits.page_bytes))
    return elfcorehdr.encode([CPU_NOTES, vmcoreinfo], list(loads))


def registered_store(state: FadumpState, ops: FadumpOps, data: bytes) -> Steps[Errno]:
    """A write to /sys/kernel/fadump/registered."""
    if not state.enabled or state.active:
        return Errno.EPERM
    match kstrtoint(data):
        case 0:
            if state.registered:
                yield from ops.unregister()
            return Errno.OK
        case 1:
            if state.registered:
                yield from ops.unregister()
            return (yield from register_fadump(state, ops))
    return Errno.EINVAL
