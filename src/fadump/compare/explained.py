"""The known differences that stay: at most five, each with the line of Linux that causes it."""

from fadump.compare import seen
from fadump.compare.differences import Difference, Explanation
from fadump.kernel.files.sysfs import FADUMP, REGION

_APPENDED = ": cmdline append: '"


def _shows_freed_words(difference: Difference) -> bool:
    if difference.moment != seen.RELEASED or len(difference.model) != 1:
        return False
    asked = difference.question.partition(" (")[0]
    return asked == f"read {FADUMP}/bootargs_append" or (
        asked == f"read {REGION}" and _APPENDED in difference.model[0] and _APPENDED in difference.linux[0]
    )


EXPLANATIONS: tuple[Explanation, ...] = (
    Explanation(
        "freed words",
        "releasing a dump frees the area for additional parameters too, and bootargs_append then shows whatever the "
        "memory's new owner has written there",
        "arch/powerpc/kernel/fadump.c:fadump_release_memory",
        _shows_freed_words,
    ),
)
"""In the order in which they are tried."""
