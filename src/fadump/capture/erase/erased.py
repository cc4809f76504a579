"""A system whose dump lacks what rules erase, and says so.

Step "saved" of docs/architecture.md. It is a dump like any other, so that nothing that saves can see what was there:
pages, the log, the kernel's name, the registers that are added. The text that says so is makedumpfile's
(erase_info.c): a line for each piece, in the note ERASEINFO or where a kdump-compressed file's sub header has it.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from typing import Any

from fadump.capture.erase.pieces import Found, find_pieces
from fadump.capture.erase.rules import Rule
from fadump.capture.erase.scrub import FILLER, scrubbed
from fadump.linux.kernel_name import KernelName
from fadump.linux.system import UNREADABLE_KERNEL, CrashedSystem
from fadump.memory.ranges import Range, RangeSet
from fadump.vmcore.contract import UNREADABLE, Dump, SystemName
from fadump.vmcore.notes import ERASEINFO_NAME
from fadump.vmcore.overlay import OverlayDump

_STEP_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Erased:
    """What was erased by one rule. ``missing_bytes`` of it aren't in the dump; ``why_not``: it may not be all."""

    rule: Rule
    pieces: int
    size_bytes: int
    missing_bytes: int
    why_not: str | None

    def sentences(self) -> Iterator[str]:
        """What is to be said of it."""
        if self.pieces:
            pieces = f"{self.pieces} piece{'s' if self.pieces != 1 else ''}"
            yield f"{self.rule}: {self.size_bytes} bytes erased, in {pieces}"
        if self.missing_bytes:
            yield f"{self.rule}: {self.missing_bytes} bytes are not in the dump: there is nothing to erase"
        if self.why_not is not None:
            yield f"{self.rule}: {'not all may be' if self.pieces else 'nothing is'} erased: {self.why_not}"

    def as_json(self) -> dict[str, object]:
        """The same by name."""
        return {
            "rule": self.rule.name,
            "line": self.rule.line,
            "pieces": self.pieces,
            "bytes": self.size_bytes,
            "missing_bytes": self.missing_bytes,
            "why_not": self.why_not,
        }


class ErasedDump(OverlayDump):
    """Another dump, ``base``, which this one owns from now on, with some of its memory erased."""

    def __init__(self, base: Dump, memory: RangeSet, text: str, *, page_bytes: int) -> None:
        """``memory`` is what to overwrite, all of which ``base`` has, and ``text`` says so.

        :raises OSError: ``base`` can't be read.
        """
        parts = list(_steps(memory))
        notes = [note for note in base.notes if note.name != ERASEINFO_NAME]
        vmcoreinfo = [] if base.vmcoreinfo is None else [base.vmcoreinfo]
        texts = scrubbed([*(note.desc for note in notes), *vmcoreinfo], _bytes_at(base, parts))
        super().__init__(
            base,
            {part.start: FILLER * part.size_bytes for part in parts},
            page_bytes=page_bytes,
            notes=[replace(note, desc=desc) for note, desc in zip(notes, texts, strict=False)],
        )
        self.vmcoreinfo = texts[-1] if vmcoreinfo else None
        before = base.erase_info or b""
        separator = b"" if not before or before.endswith(b"\n") else b"\n"
        self.erase_info = before + separator + text.encode()


def erase(system: CrashedSystem, rules: Sequence[Rule]) -> tuple[CrashedSystem, Sequence[Erased]]:
    """The system without what the rules lead to, and what that was; it owns ``system``'s dump from now on.

    :raises EraseError: a rule that isn't optional leads nowhere, or not to all.
    :raises FadumpError: nothing of the kernel can be found in the dump.
    :raises OSError: the dump, or the vmlinux, can't be read.
    """
    found = find_pieces(system, rules)
    memory = RangeSet(part for one in found for part in one.memory)
    if not memory:
        return system, [_erased(one) for one in found]
    dump = ErasedDump(system.dump, memory, "".join(_lines(found)), page_bytes=system.page_bytes)
    erased = system.over(dump)
    if system.dump.system_name is not None:
        dump.system_name = _without(system.dump.system_name, _name(system), _name(erased))
    return erased, [_erased(one) for one in found]


def _erased(found: Found) -> Erased:
    size_bytes = sum(piece.size_bytes for piece in found.pieces) - found.missing_bytes
    return Erased(found.rule, len(found.pieces), size_bytes, found.missing_bytes, found.why_not)


def _lines(found: Sequence[Found]) -> Iterator[str]:
    for one in found:
        for piece in one.pieces:
            yield f"erase {one.rule.expression} size {piece.size_bytes}\n"


def _steps(memory: RangeSet) -> Iterator[Range]:
    for range_ in memory:
        for start in range(range_.start, range_.end, _STEP_BYTES):
            yield Range(start, min(start + _STEP_BYTES, range_.end))


def _bytes_at(dump: Dump, parts: Sequence[Range]) -> Iterator[bytes]:
    for part in parts:
        with suppress(*UNREADABLE):  # a page that is damaged isn't saved either
            yield dump.read_physical(part.start, part.size_bytes)


def _name(system: CrashedSystem) -> KernelName | None:
    with suppress(*UNREADABLE_KERNEL):
        return system.kernel
    return None


def _without(header: SystemName, before: KernelName | None, after: KernelName | None) -> SystemName:
    """What a file's header says of the system, but for names that were erased in memory."""
    gone: dict[str, Any] = {}
    for field in fields(KernelName) if before is not None else ():
        old = getattr(before, field.name)
        if old and old == getattr(header, field.name) and (after is None or getattr(after, field.name) != old):
            gone[field.name] = FILLER.decode() * len(old)
    return replace(header, **gone)
