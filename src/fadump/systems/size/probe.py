"""One try: a system crashed with so much memory and so much boot memory, and what became of its dump."""

import re
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from fadump.errors import FadumpError
from fadump.linux.vmcoreinfo import Facts
from fadump.observer import CrashBy, Unwatched
from fadump.systems.rehearse import Outcome, RehearsalOptions, RehearsalResult, rehearse
from fadump.systems.size.boot_memory import TriedBootMemory
from fadump.vmcore.dump import open_dump

_WITHOUT_MEMORY = re.compile(r"Failed to allocate|ut of memory|deadlocked on memory")
"""In a panic of a kernel that hasn't come to kill anything."""
_LATE = re.compile(r" within \d+ seconds: ")


class ProbeResult(StrEnum):
    """What a try has come to."""

    SAVED = "saved"
    """A complete dump file is on the disk."""
    OUT_OF_MEMORY = "out-of-memory"
    """It isn't, and the capture kernel had run out of memory."""
    HANG = "hang"
    """Nothing came of it in a few times the time that a good one takes."""
    LOST = "lost"
    """The capture kernel crashed or reset the system, or its service saved nothing."""
    FALLBACK = "fallback"
    """Linux has reserved for kdump: FADump takes no boot memory that small."""
    NOT_REGISTERED = "not-registered"
    """The system came into production without FADump for another reason, or didn't come up."""


@dataclass(frozen=True, slots=True)
class Probe:
    """A try. ``seconds`` is all of it, ``saving_seconds`` from the crash until the dump was dealt with, less what QEMU
    waited for the host's processors.

    ``page_bytes`` and ``initrd_bytes`` are the kernel's and its initrd's sizes, as it was loaded.
    ``available_bytes`` is what the capture kernel had left of its boot memory when it began, ``least_available_bytes``
    the least that it had later, ``touched_bytes`` how much of it was touched; None where it isn't known. ``killed``
    counts the console's lines of processes killed.
    """

    memory_bytes: int
    boot_memory: TriedBootMemory
    result: ProbeResult
    seconds: float
    saving_seconds: float | None = None
    page_bytes: int | None = None
    initrd_bytes: int = 0
    available_bytes: int | None = None
    touched_bytes: int | None = None
    least_available_bytes: int | None = None
    killed: int = 0
    error: str | None = None

    @property
    def early_bytes(self) -> int | None:
        """What the capture kernel had taken before anything else ran."""
        return None if self.available_bytes is None else self.boot_memory.size_bytes - self.available_bytes


def try_boot_memory(options: RehearsalOptions, tried: TriedBootMemory) -> Probe:
    """Crash the system of these options with so much boot memory; of its files only the console's log is kept.

    :raises FadumpError: as :func:`.rehearse`.
    """
    started = time.monotonic()
    result = rehearse(replace(options, boot_memory=tried, crash_by=CrashBy.PLATFORM), Unwatched())
    page_bytes = _page_bytes(result)
    _drop_dumps(options.out)
    watched = result.watched
    return Probe(
        memory_bytes=options.vm.memory_bytes,
        boot_memory=tried,
        result=_told_apart(result),
        seconds=time.monotonic() - started,
        saving_seconds=watched.saving_seconds,
        page_bytes=page_bytes,
        initrd_bytes=result.initrd_bytes,
        available_bytes=watched.available_bytes,
        touched_bytes=result.touched_bytes,
        least_available_bytes=result.least_available_bytes,
        killed=len(watched.out_of_memory) + watched.more_out_of_memory,
        error=result.error,
    )


def _told_apart(result: RehearsalResult) -> ProbeResult:
    error = result.error or ""
    match result.outcome:
        case Outcome.SAVED:
            return ProbeResult.SAVED
        case Outcome.REFUSED:
            return ProbeResult.FALLBACK
        case Outcome.NOT_REGISTERED:
            return ProbeResult.NOT_REGISTERED
    if result.watched.dump is None:
        return ProbeResult.NOT_REGISTERED
    if result.watched.out_of_memory or _WITHOUT_MEMORY.search(error):
        return ProbeResult.OUT_OF_MEMORY
    return ProbeResult.HANG if _LATE.search(error.splitlines()[0]) else ProbeResult.LOST


def _page_bytes(result: RehearsalResult) -> int | None:
    if result.judged is None:
        return None
    with suppress(FadumpError), open_dump(result.judged.dump.copy) as dump:
        return Facts.of(dump).page_bytes()
    return None


def _drop_dumps(out: Path) -> None:
    for path in out.glob("crash*"):
        shutil.rmtree(path, ignore_errors=True)
