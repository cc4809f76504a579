"""Release: the firmware's dump is invalidated, and the kernel may use the memory again.

Step "release" of docs/architecture.md. Linux arch/powerpc/kernel/fadump.c: fadump_cleanup(),
fadump_invalidate_release_mem(), fadump_release_memory() and release_mem_store(), which user space writes to.

As in Linux, the memory is released even if the firmware refuses to invalidate the dump, as fadump_cleanup() ignores
the status. Whole pages are released; the start of each range is rounded down.
"""

from collections.abc import Iterator

from fadump.kernel.calls import Errno, Steps
from fadump.kernel.kstrtox import kstrtoint
from fadump.kernel.ops import FadumpOps
from fadump.kernel.state import FadumpState
from fadump.kernel.traits import align_down
from fadump.memory.ranges import Range, RangeSet

_P = "fadump: "


def cleanup(state: FadumpState, ops: FadumpOps) -> Steps[None]:
    """fadump_cleanup(): invalidate an active dump, or else withdraw a registration; also called at a reboot."""
    if not state.system.supported:
        return
    if state.active:
        yield from ops.invalidate()
    elif state.registered:
        yield from ops.unregister()
    yield from ops.cleanup()


def invalidate_release(state: FadumpState, ops: FadumpOps) -> Steps[RangeSet]:
    """Release everything; return the memory that the kernel may use now."""
    if not state.active:
        return RangeSet()
    yield from cleanup(state, ops)
    freed = list(_freed(state))
    for piece in freed:
        state.log.pr_info(f"{_P}freeing reserved memory (0x{piece.start:x} - 0x{piece.end:x})")
    if (yield from ops.setup_metadata()):
        state.log.pr_warn(f"{_P}Failed to setup kernel metadata!")
    ops.init_mem_struct()
    return RangeSet(freed)


def release_mem_store(state: FadumpState, ops: FadumpOps, data: bytes) -> Steps[tuple[Errno, RangeSet]]:
    """A write to /sys/kernel/fadump/release_mem."""
    if not state.active:
        return Errno.EPERM, RangeSet()
    if kstrtoint(data) != 1:
        return Errno.EINVAL, RangeSet()
    return Errno.OK, (yield from invalidate_release(state, ops))


def _freed(state: FadumpState) -> Iterator[Range]:
    """fadump_release_memory(): all memory above boot memory except the firmware's and the reserved area."""
    page_bytes = state.traits.page_bytes
    memory = state.system.memory
    end = state.ram[-1].end
    if state.boot_memory_top >= end:
        return
    above = RangeSet([Range(state.boot_memory_top, end)])
    for piece in above - (memory.firmware | RangeSet([state.area])):
        pages = RangeSet([Range(align_down(piece.start, page_bytes), align_down(piece.end, page_bytes))])
        for node in state.ram:
            yield from pages & RangeSet([node])
