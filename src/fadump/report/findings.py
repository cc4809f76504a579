"""What a report is made of: read once, each part by itself, with a sentence for each that can't be read."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from fadump.errors import SetupError
from fadump.linux.activity import Activity
from fadump.linux.modules import Module
from fadump.linux.summary import Summary, summarize
from fadump.linux.system import UNREADABLE_KERNEL, CrashedSystem
from fadump.printable import first_of
from fadump.vmcore.contract import Dump

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Findings:
    """``activity`` and ``modules`` are None if they can't be read. ``missing`` is about them and the ``summary``."""

    summary: Summary
    dump: Dump
    activity: Activity | None
    modules: Sequence[Module] | None
    missing: Sequence[str]


def find(system: CrashedSystem) -> Findings:
    """Read everything that a report tells.

    :raises OSError: the file can't be read.
    """
    summary = summarize(system)
    missing = list(summary.missing)
    if summary.release is None or summary.opal is not None:  # nothing of the kernel can be read
        return Findings(summary, system.dump, None, None, missing)
    activity = _tried("what the system did", lambda: system.activity, missing)
    modules = _tried("modules", lambda: system.modules, missing)
    missing += first_of([] if activity is None else activity.unknown)
    missing += first_of([] if modules is None else modules.left_out)
    return Findings(summary, system.dump, activity, None if modules is None else modules.modules, missing)


def _tried(what: str, read: Callable[[], T], missing: list[str]) -> T | None:
    try:
        return read()
    except (*UNREADABLE_KERNEL, SetupError) as error:
        missing.append(f"{what}: {error}")
        return None
