"""What Linux's own bugs come to in a run; docs/linux-bugs.md has them all.

Steps "crash" and "release" of docs/architecture.md.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from fadump.abi.pseries.dump_structure import SectionType
from fadump.cycle import CycleResult
from fadump.firmware.contract import PreservedDump, TriggerKind

NO_PANIC_TEXT = "Linux has not passed the text of its panic to the firmware, whose records lack it"
_FREED = re.compile(rb"fadump: freeing reserved memory \((0x[0-9a-f]{1,16}) - (0x[0-9a-f]{1,16})\)")
_LEAST_PAGE_BYTES = 4096


class LinuxBug(StrEnum):
    """A bug that shows in a run which has come to its end, by the name that ``--strict`` takes."""

    ANY = "any"
    CRASH_INFO = "crash-info"
    PARAMETER_AREA = "bootargs-append"
    PANIC_TEXT = "panic-text"


class StillNeeded(StrEnum):
    """Memory that Linux needs for its next dump."""

    CRASH_INFO = "crash-info header"
    PARAMETER_AREA = "bootargs_append"


_WORDS = {
    StillNeeded.CRASH_INFO: ("the crash-info header", "the dump may be lost"),
    StillNeeded.PARAMETER_AREA: ("bootargs_append", "the capture kernel's command line may be anybody's words"),
}


@dataclass(frozen=True, slots=True)
class FreedByLinux:
    """At the release Linux has freed the page of ``what``, at physical ``address``, though its next dump needs it.

    If it was ``kept``, Linux would have, had the firmware not reserved it.
    """

    what: StillNeeded
    address: int
    kept: bool

    @property
    def bug(self) -> LinuxBug:
        """The bug that did it."""
        return LinuxBug[self.what.name]

    def __str__(self) -> str:
        content, consequence = _WORDS[self.what]
        page = f"the page with {content}, at {self.address:#x}, which it needs at its next crash"
        if self.kept:
            return f"Linux would have freed {page}: kept by the firmware (with --strict it isn't)"
        return f"Linux has freed {page}: {consequence}"


def freed_by_linux(dump: PreservedDump | None, reserved_bytes: int | None, console: Path) -> Sequence[FreedByLinux]:
    """What Linux has freed too much, by the console of all boots up to now; ``reserved_bytes`` are Linux's own number,
    if it was asked.
    """
    freed = [(int(start, 16), int(end, 16)) for start, end in _FREED.findall(console.read_bytes())]
    return [
        FreedByLinux(what, address, is_kept)
        for what, address, is_kept in _needed(dump, reserved_bytes)
        if is_kept or any(start <= address < end for start, end in freed)
    ]


def lacks_panic_text(cycle: CycleResult) -> bool:
    """Whether Linux has asked for its dump and not said why."""
    trigger = cycle.trigger
    return trigger is not None and trigger.kind is TriggerKind.OS_TERM and not trigger.message


def _needed(dump: PreservedDump | None, reserved_bytes: int | None) -> Iterator[tuple[StillNeeded, int, bool]]:
    """The last item: has the firmware kept it from Linux, which frees the page that its reserved area ends in?"""
    if dump is None:
        return
    if dump.crash_info is not None:
        ends_within_page = reserved_bytes is not None and reserved_bytes % _LEAST_PAGE_BYTES != 0
        yield StillNeeded.CRASH_INFO, dump.crash_info, dump.protected is not None and ends_within_page
    for region in dump.regions:
        if region.type == SectionType.PARAMETER_AREA:
            yield StillNeeded.PARAMETER_AREA, region.destination, False
