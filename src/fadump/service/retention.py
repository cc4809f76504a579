"""What is removed at a target: dumps that are too many, the oldest first, and what an attempt has left of a dump.

The newest never is, nor anything that has no record of ours: that is, what we have made, and what another service has
and we have proven.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fadump.errors import FadumpError, reason
from fadump.service.config import KeepSettings
from fadump.service.crash import Crash
from fadump.service.targets.contract import Kept, Shelf


@dataclass(frozen=True, slots=True)
class Retained:
    """What has been removed, by its names, and sentences about what could not be."""

    removed: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


def retain(shelf: Shelf, keep: KeepSettings) -> Retained:
    """Remove what is too much beside the dump that has just been saved, incomplete ones first."""
    if not (keep.dumps or keep.bytes):
        return Retained()
    try:
        dumps = sorted(shelf.dumps(), key=lambda dump: (dump.whole, dump.time, dump.directory))
    except (FadumpError, OSError) as error:
        return Retained(remarks=(f"{shelf.name} can't be looked through, so that every dump stays: {reason(error)}",))
    count, size_bytes = len(dumps), sum(dump.size_bytes for dump in dumps)
    removed: list[str] = []
    remarks: list[str] = []
    for dump in dumps:
        if not (0 < keep.dumps < count or 0 < keep.bytes < size_bytes):
            break
        if not dump.is_own and _is_removed(shelf, dump, removed, remarks):
            count, size_bytes = count - 1, size_bytes - dump.size_bytes
    return Retained(tuple(removed), tuple(remarks))


def remove_parts(shelves: Sequence[Shelf], crash: Crash) -> Retained:
    """Remove what earlier attempts have left of a dump that is whole somewhere by now."""
    removed: list[str] = []
    remarks: list[str] = []
    for shelf in shelves:
        try:
            parts = [dump for dump in shelf.dumps() if dump.crash.identity == crash.identity and not dump.whole]
        except (FadumpError, OSError) as error:
            remarks.append(f"{shelf.name} can't be looked through for a part of this dump: {reason(error)}")
            continue
        for dump in parts:
            _is_removed(shelf, dump, removed, remarks)
    return Retained(tuple(removed), tuple(remarks))


def _is_removed(shelf: Shelf, dump: Kept, removed: list[str], remarks: list[str]) -> bool:
    name = f"{shelf.name}/{dump.directory}"
    try:
        why = shelf.remove(dump)
    except (FadumpError, OSError) as error:
        remarks.append(f"{name} can't be removed: {reason(error)}")
        return False
    if why is not None:
        remarks.append(f"{name} stays, as {why}")
        return False
    removed.append(name)
    return True
