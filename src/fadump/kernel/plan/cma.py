"""What of the reserved dump area a kernel lends to user space until the crash.

Linux arch/powerpc/kernel/fadump.c, fadump_cma_init(): the size of boot memory at the start of the area, where its copy
is to be; mm/cma.c takes memory by whole units only.
"""

from fadump.kernel.plan.cmdline import CommandLine
from fadump.kernel.traits import KernelTraits, Mmu, Reason, align_down, align_up, size_text
from fadump.memory.ranges import Range

_CMA = "arch/powerpc/kernel/fadump.c:fadump_cma_init"
_UNTIL = "is lent to user space until the crash, and its pages are lost then"


def lent_part(kernel: KernelTraits, mmu: Mmu, command_line: CommandLine, copy: Range) -> tuple[Range | None, Reason]:
    """What is lent of ``copy``, which has the size of boot memory; None if nothing is."""
    if command_line.nocma:
        return None, Reason("cma_bytes", 0, "fadump=nocma: the reserved area is not lent", _CMA)
    alignment = kernel.cma_alignment_bytes(mmu)
    if kernel.lends_aligned_part:
        return _aligned_part(copy, alignment)
    if (copy.start | copy.size_bytes) % alignment:
        sentence = (
            f"the area at {copy.start:#x} or boot memory's size {copy.size_bytes:#x} is not a multiple of "
            f"{size_text(alignment)}, as CMA needs it: the area is not lent"
        )
        return None, Reason("cma_bytes", 0, sentence, _CMA)
    return copy, Reason("cma_bytes", copy.size_bytes, f"the size of boot memory {_UNTIL}", _CMA)


def _aligned_part(copy: Range, alignment: int) -> tuple[Range | None, Reason]:
    start, end = align_up(copy.start, alignment), align_down(copy.end, alignment)
    if end <= start:
        sentence = f"no {size_text(alignment)} of the area are whole, as CMA needs it: the area is not lent"
        return None, Reason("cma_bytes", 0, sentence, _CMA)
    sentence = f"the size of boot memory, as far as it is whole units of {size_text(alignment)}, {_UNTIL}"
    return Range(start, end), Reason("cma_bytes", end - start, sentence, _CMA)
