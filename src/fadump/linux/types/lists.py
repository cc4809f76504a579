"""The kernel's doubly linked lists, as far as a dump has them.

Linux: struct list_head in include/linux/list.h. A list that breaks off is followed from its other end, too, so that one
lost member takes no others with it. No member is counted twice, and a budget bounds what several lists take together.
"""

from dataclasses import dataclass

from fadump.errors import LimitError
from fadump.limits import Budget
from fadump.linux.memory import UNREADABLE_ADDRESS, KernelMemory
from fadump.linux.types.contract import POINTER_BYTES

_NEXT, _PREVIOUS = 0, POINTER_BYTES


@dataclass(frozen=True, slots=True)
class ListNodes:
    """The list_heads of a list's members, in their order; ``broken`` says why some are missing, None: none is."""

    nodes: tuple[int, ...]
    broken: str | None = None


def list_nodes(memory: KernelMemory, head: int, budget: Budget) -> ListNodes:
    """The members of the list at ``head``, which is none itself."""
    seen = {head}
    first: list[int] = []
    last: list[int] = []
    broken = _follow(memory, head, _NEXT, budget, seen, first)
    if broken is not None:
        _follow(memory, head, _PREVIOUS, budget, seen, last)
    return ListNodes((*first, *reversed(last)), broken)


def _follow(memory: KernelMemory, head: int, link: int, budget: Budget, seen: set[int], found: list[int]) -> str | None:
    """Add what a list leads to until it comes back to ``head``; why it doesn't, or None."""
    node = head
    while True:
        try:
            node = memory.word(node + link)
            if node != head:
                budget.spend()
        except (*UNREADABLE_ADDRESS, LimitError) as error:
            return str(error)
        if node == head:
            return None
        if not node:
            return f"list at {head:#x} that breaks off: it has a NULL pointer in it"
        if node in seen:
            return f"list that comes back to {node:#x} and not to its start"
        seen.add(node)
        found.append(node)
