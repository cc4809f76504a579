"""The known differences that stay: at most five, each with the line of Linux that causes it."""

import re

from fadump.compare import seen
from fadump.compare.differences import Difference, Explanation
from fadump.compare.questions import Messages
from fadump.kernel.files.sysfs import FADUMP, REGION

_APPENDED = ": cmdline append: '"
_CMA_RESERVED = re.compile(
    r"<[46]>crashkernel CMA (?:reserved: |reservation failed: (?P<wanted>\d+) MB requested, )(?P<reserved>\d+) MB "
    r"(?:reserved )?in \d ranges"
)


def _shows_freed_words(difference: Difference) -> bool:
    if difference.moment != seen.RELEASED or len(difference.model) != 1:
        return False
    asked = difference.question.partition(" (")[0]
    return asked == f"read {FADUMP}/bootargs_append" or (
        asked == f"read {REGION}" and _APPENDED in difference.model[0] and _APPENDED in difference.linux[0]
    )


def _finds_other_pieces(difference: Difference) -> bool:
    if difference.question != str(Messages()) or (len(difference.linux), len(difference.model)) != (1, 1):
        return False
    found = [_CMA_RESERVED.fullmatch(line) for line in (*difference.linux, *difference.model)]
    wanted = [match["wanted"] or match["reserved"] for match in found if match is not None]
    return len(wanted) == len(found) and wanted[0] == wanted[1]


EXPLANATIONS: tuple[Explanation, ...] = (
    Explanation(
        "freed words",
        "releasing a dump frees the area for additional parameters too, and bootargs_append then shows whatever the "
        "memory's new owner has written there",
        "arch/powerpc/kernel/fadump.c:fadump_release_memory",
        _shows_freed_words,
    ),
    Explanation(
        "pieces for kdump",
        "crashkernel=size,cma takes free memory in up to four pieces, and their sizes depend on what Linux has "
        "allocated before; the model allocates little",
        "kernel/crash_reserve.c:reserve_crashkernel_cma",
        _finds_other_pieces,
    ),
)
"""In the order in which they are tried."""
