"""The least size that does, found by trying: from a guess up until one does, then down to the edge.

A size that doesn't do takes longest to try, as hangs have to be told from slowness: so the way down is taken in
quarters until one doesn't, and then by halves.
"""

from collections.abc import Callable
from dataclasses import dataclass

from fadump.kernel.traits import align_down, align_up

_CLOSE = 16
"""The edge is known well enough within a sixteenth of the size."""


@dataclass(frozen=True, slots=True)
class Edge:
    """``least_bytes`` is the least size that was seen to do, ``most_bytes`` the largest below it that didn't; 0: none
    was tried, as there is no less."""

    least_bytes: int
    most_bytes: int


def find_edge(does: Callable[[int], bool], guess_bytes: int, most_bytes: int, step_bytes: int) -> Edge | None:
    """Search among multiples of ``step_bytes`` up to ``most_bytes``; None if not even that does."""
    most = align_down(most_bytes, step_bytes)
    size = min(max(align_up(guess_bytes, step_bytes), step_bytes), most)
    too_small = 0
    while not does(size):
        if size >= most:
            return None
        too_small, size = size, min(align_up(size * 3 // 2, step_bytes), most)
    least = size
    while least - too_small > max(step_bytes, least // _CLOSE):
        between = (too_small + least) // 2 if too_small else least * 3 // 4
        size = min(max(align_down(between, step_bytes), too_small + step_bytes), least - step_bytes)
        if does(size):
            least = size
        else:
            too_small = size
    return Edge(least, too_small)
