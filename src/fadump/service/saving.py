"""A dump to one of several targets: the first that has it already, or else the first that takes it.

Step "saved" of docs/architecture.md. All are looked into before anything is written: an attempt before this one may
have ended between the proof and the release, at any of them. What attempts have left of the dump elsewhere is removed
once it is proven somewhere.
"""

from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from fadump.capture.destination import Destination
from fadump.capture.dmesg import dmesg_name, read_dmesg
from fadump.capture.options import SaveOptions
from fadump.capture.save import save_dump, stream_dump
from fadump.capture.target import SaveError
from fadump.errors import FadumpError, reason
from fadump.linux.system import CrashedSystem, open_system
from fadump.progress import Progress, Step
from fadump.service.crash import read_crash
from fadump.service.record import RECORD_NAME, Record
from fadump.service.result import Attempt, Captured, Result
from fadump.service.retention import remove_parts
from fadump.service.root import Root
from fadump.service.targets.contract import VMCORE_NAME, DumpDirectory, Stored, Target, TargetError, Tell

_DMESG_NAME = dmesg_name(Path(VMCORE_NAME)).name


@dataclass(frozen=True, slots=True)
class Saved:
    """What has come of a dump so far, and the target that has it, open; None: no target has."""

    captured: Captured
    target: Target | None = None
    stored: Stored | None = None


def save_once(root: Root, targets: Sequence[Target], options: SaveOptions, source: Path, opened: ExitStack) -> Saved:
    """Have the dump, proven, at one of the targets. All of them are closed with ``opened``.

    That of this boot, which is released then, is saved to no target that a reboot clears.
    """
    for target in targets:
        opened.callback(target.close)
    try:
        with open_system(source) as system:
            return _Saving(root, targets, options, system, must_last=source == root.vmcore).run()
    except (FadumpError, OSError) as error:
        return Saved(Captured(Result.FAILED, errors=[f"{source} can't be read: {reason(error)}"]))


@dataclass(frozen=True, slots=True)
class _Taken:
    """A dump that a target has, proven. ``size_bytes`` None: it was there already."""

    stored: Stored
    proof: str
    complete: bool = True
    size_bytes: int | None = None
    remarks: tuple[str, ...] = ()


class _Saving:
    """One dump on its way. ``_usable`` has the targets that can be used, ``_failed`` why each of the others can't, or
    hasn't taken the dump."""

    def __init__(
        self, root: Root, targets: Sequence[Target], options: SaveOptions, system: CrashedSystem, *, must_last: bool
    ) -> None:
        self._root = root
        self._must_last = must_last
        self._targets = targets
        self._options = options
        self._system = system
        self._crash = read_crash(system)
        self._usable: list[Target] = []
        self._failed: dict[Target, str] = {}

    def run(self) -> Saved:
        """Look into each of them, then save to the first that takes it."""
        for target in self._targets:
            try:
                found = self._found(target)
            except (FadumpError, OSError, MemoryError) as error:
                target.close()
                self._fail(target, error)
                continue
            self._usable.append(target)
            if found is not None:
                return self._saved(target, found)
        for target in self._usable:
            try:
                taken = self._take(target)
            except (FadumpError, OSError, MemoryError) as error:
                self._fail(target, error)
                continue
            return self._saved(target, taken)
        return Saved(Captured(Result.FAILED, self._crash, attempts=self._attempts(self._targets)))

    def _found(self, target: Target) -> _Taken | None:
        """What an attempt before this one has brought to its end there.

        :raises FadumpError: the target can't be used.
        :raises OSError: likewise.
        """
        target.prepare()
        memory = target.in_memory(self._root) if self._must_last else None
        if memory is not None:
            raise TargetError(f"it is {memory}, memory that the next reboot clears: name a place on a disk")
        found = target.find(self._crash)
        if found is not None:
            with suppress(TargetError):  # one that isn't whole is saved anew
                return _Taken(found, _prove(target, complete=True))
        return None

    def _take(self, target: Target) -> _Taken:
        """Have a target take the dump, and prove that it has it.

        :raises FadumpError: it hasn't.
        :raises OSError: likewise.
        """
        place = target.open(self._crash)
        system, options = self._system, self._options
        remarks: list[str] = []
        with Progress.step(f"Saving to {target.name}", unit="bytes") as step:
            if isinstance(place, DumpDirectory):
                destination = Destination.take(place.vmcore, options)
                saved = save_dump(system, destination, options, tell=_shown_by(step), say=remarks.append)
            else:
                target.add_text(_DMESG_NAME, read_dmesg(system)[0].encode())
                saved = stream_dump(
                    system, place.fd, options, files=place.files, tell=_shown_by(step), say=remarks.append
                )
        stored = target.settle()
        proof = _prove(target, complete=saved.complete)
        remarks += saved.remarks
        try:
            target.add_text(RECORD_NAME, Record(self._crash, proof, saved.complete).encode())
        except (FadumpError, OSError) as error:  # as on a disk that is full by now: the dump is safe
            remarks.append(f"{RECORD_NAME} doesn't say that the dump is proven: {reason(error)}")
        return _Taken(stored, proof, saved.complete, saved.size_bytes, tuple(remarks))

    def _saved(self, target: Target, taken: _Taken) -> Saved:
        before = self._targets[: self._targets.index(target)]
        unused = [
            f"{other.name} was not needed, and can't be used: {why}"
            for other, why in self._failed.items()
            if other not in before
        ]
        shelves = [shelf for usable in self._usable if (shelf := usable.shelf()) is not None]
        parts = remove_parts(shelves, self._crash)
        captured = Captured(
            Result.SAVED if taken.complete else Result.INCOMPLETE,
            self._crash,
            target.name,
            taken.stored.where,
            taken.size_bytes,
            taken.proof,
            already=taken.size_bytes is None,
            attempts=self._attempts(before),
            removed=parts.removed,
            remarks=[*taken.remarks, *unused, *parts.remarks],
        )
        return Saved(captured, target, taken.stored)

    def _attempts(self, targets: Sequence[Target]) -> list[Attempt]:
        return [Attempt(target.name, self._failed[target]) for target in targets if target in self._failed]

    def _fail(self, target: Target, error: FadumpError | OSError | MemoryError) -> None:
        why = error.why if isinstance(error, SaveError) else None  # the next attempt replaces what is left
        self._failed[target] = why or reason(error) or "there is not enough memory for it"


def _prove(target: Target, *, complete: bool) -> str:
    with Progress.step(f"Proving what {target.name} has", unit="bytes") as step:
        return target.prove(_shown_by(step), complete=complete)


def _shown_by(step: Step) -> Tell:
    return lambda done, total: step.update(done, total=total)
