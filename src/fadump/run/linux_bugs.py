"""What Linux's own bugs come to in a run; docs/linux-bugs.md has them all.

Step "release" of docs/architecture.md.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from fadump.cycle import CycleResult

_FREED = re.compile(rb"fadump: freeing reserved memory \((0x[0-9a-f]{1,16}) - (0x[0-9a-f]{1,16})\)")
_LEAST_PAGE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class FreedHeader:
    """At the release, Linux has freed the page that will have its next crash's header, at physical ``address``.

    If it was ``kept``, Linux would have, had the firmware not reserved it.
    """

    address: int
    kept: bool

    def __str__(self) -> str:
        page = f"the page of its next crash's header, at {self.address:#x}"
        if self.kept:
            return f"at the release Linux would have freed {page}: kept by the firmware (with --strict it isn't)"
        return f"at the release Linux has freed {page}, and has registered it again: the next dump may be lost"


def freed_header(cycle: CycleResult, console: Path) -> FreedHeader | None:
    """Whether the bug has been met, by the console of all cycles up to this one.

    Linux frees the page within which its reserved area ends.
    """
    address = cycle.dump.crash_info
    if address is None:
        return None
    freed = _FREED.findall(console.read_bytes())
    if any(int(start, 16) <= address < int(end, 16) for start, end in freed):
        return FreedHeader(address, kept=False)
    ends_within_page = cycle.reserved_bytes is not None and cycle.reserved_bytes % _LEAST_PAGE_BYTES
    return FreedHeader(address, kept=True) if cycle.dump.protected is not None and ends_within_page else None
