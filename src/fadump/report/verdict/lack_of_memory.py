"""Who has the memory of a system that ran out of it: programs, files in memory, or the kernel."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from fadump.linux.state.memory_use import MemoryUse
from fadump.report.findings import Findings
from fadump.report.verdict.contract import Certainty, Evidence, Verdict

_OUT_OF_MEMORY = re.compile(r"(?i)out of memory|deadlocked on memory")


@dataclass(frozen=True, slots=True)
class _Share:
    """Memory of one kind, who has it, and where to look next."""

    size_bytes: int
    what: str
    blame: str
    step: str


def of_lack_of_memory(evidence: Evidence) -> Verdict | None:
    """The kernel found no memory, and is set to panic then, or could kill nobody."""
    if not _OUT_OF_MEMORY.search(evidence.panic):
        return None
    because = [f"the panic says: {evidence.panic}"]
    if evidence.cause:
        because.append(f"the log says: {evidence.cause}")
    largest = max(_shares(evidence.findings), key=lambda share: share.size_bytes, default=None)
    what, where = "The system ran out of memory", evidence.where
    if largest is None or not largest.size_bytes:
        step = (
            "Look at the memory below: much of the kernel's is a leak in the kernel, much of users' one in a program."
        )
        return Verdict(what, where, None, Certainty.UNKNOWN, because, step)
    total = None if evidence.findings.memory_use is None else evidence.findings.memory_use.total
    of_all = f" of {total >> 20:,} MiB" if total else ""
    because.append(f"{largest.what}: {largest.size_bytes >> 20:,} MiB{of_all}, more than anything else")
    return Verdict(what, where, largest.blame, Certainty.UNSURE, because, largest.step)


def _shares(findings: Findings) -> Iterator[_Share]:
    use = findings.memory_use
    task = max(findings.summary.tasks or (), key=lambda task: task.resident_bytes or 0, default=None)
    if task is not None and task.resident_bytes:
        blame = f"{task.name} (PID {task.process}) has the most memory"
        what = f"programs have memory of their own, {task.name} {task.resident_bytes >> 20:,} MiB in it"
        step = "Ask what that program did: is it a leak, or too much work for this system?"
        own = task.resident_bytes if use is None or use.anonymous is None else use.anonymous
        yield _Share(own, what, blame, step)
    if use is None:
        return
    if use.shared is not None:
        step = "Look at the mounted file systems of type tmpfs: what is in them is lost memory until it is removed."
        yield _Share(use.shared, "files in tmpfs and shared memory", "files in tmpfs, or shared memory", step)
    huge = sum(pool.count * pool.page_bytes for pool in use.huge)
    step = "Look at vm.nr_hugepages: memory that is set aside for huge pages serves nobody else."
    yield _Share(huge, "the pool of huge pages", "the number of huge pages that is set", step)
    kept = _difference(use.slab, use.slab_reclaimable)
    if kept is not None:
        cache = findings.slab_caches[0].name if findings.slab_caches else None
        blame = "the kernel's slab caches" if cache is None else f"the kernel's slab cache {cache}, the largest"
        yield _Share(kept, "the kernel's slab caches", blame, "Ask who allocates these objects: they are never freed.")
    other = _uncounted(use, huge)
    if other is not None:
        step = "Unload what isn't needed: a driver may have pages of its own that no count has."
        yield _Share(other, "the kernel has pages that no count of it has", "the kernel itself, or a driver", step)


def _uncounted(use: MemoryUse, huge: int) -> int | None:
    counted = (use.free, use.cache, use.anonymous, use.slab, use.page_tables, use.kernel_stacks)
    known = [size for size in counted if size is not None]
    if use.total is None or len(known) != len(counted):
        return None
    return max(0, use.total - sum(known) - huge)


def _difference(whole: int | None, part: int | None) -> int | None:
    return None if whole is None or part is None else max(0, whole - part)
