"""What the service asks of a target.

Steps "saved" and "release" of docs/architecture.md. The calls come in this order:

    prepare, in_memory, find
                         of each target, and, of what was found, prove; the dump is there if that is whole
    open, add_text ...   of one target after the other; then the dump is written
    settle, prove, add_text
    shelf                of all that are usable, for what earlier attempts have left there
    add_file             then the dump is released
    shelf                of the one that has the dump, for older ones
    close

``close`` comes whatever happened, also twice. Any other call may raise a FadumpError, an OSError or
:class:`~fadump.signals.EndedBySignal`; then the dump isn't there, and the next target is tried. Before ``prove`` has
returned nothing is released.

What is at the target is at any time either whole, or has a name or a state that says that it isn't: the power may fail
between any two of these calls, or in the middle of one. The dump of the next boot is then of the same crash, and is
saved anew; what an earlier attempt has left of it is that target's to replace.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from fadump.capture.files import HOST as HOST_FILES
from fadump.capture.files import Files
from fadump.errors import FadumpError
from fadump.service.crash import Crash
from fadump.service.root import Root

VMCORE_NAME = "vmcore"
OPAL_CORE_NAME = "opalcore"
"""What a dump, and OPAL's own core, are called in a directory."""

Tell = Callable[[int, int], None]
"""Is told how much of a piece of work is done, and how much there is."""


class TargetError(FadumpError):
    """A target that can't take a dump, or didn't keep it; the sentence names it and says what to do."""


@dataclass(frozen=True, slots=True)
class DumpDirectory:
    """A directory for one dump, which is to be saved there as ``vmcore``, with its log beside it."""

    path: Path

    @property
    def vmcore(self) -> Path:
        """The dump's name."""
        return self.path / VMCORE_NAME


@dataclass(frozen=True, slots=True)
class DumpStream:
    """A descriptor that takes a flattened dump, written through ``files``: the target may look at what is written."""

    fd: int
    files: Files = field(default=HOST_FILES)


@dataclass(frozen=True, slots=True)
class Stored:
    """A dump at its target. ``where`` is its name for people and for programs.

    ``path`` is where this system has it as a file until the target is closed, None where it doesn't.
    """

    where: str
    path: Path | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """A dump that lies at a target, in a ``directory`` of its own; ``size_bytes`` is what that takes of the disk.

    ``time`` is when it crashed, or was saved. ``is_own``: it is the one that has been found or saved now.
    """

    directory: str
    crash: Crash
    whole: bool
    time: float
    size_bytes: int
    is_own: bool = False


class Shelf(Protocol):
    """The dumps at a target that are ours, beside each other. Any call may raise a FadumpError or an OSError."""

    name: str
    """What it is called in sentences."""

    def dumps(self) -> list[Kept]:
        """Those that are there."""

    def remove(self, dump: Kept) -> str | None:
        """Remove one with all that is beside it; why it stays, as a part of a sentence, or None."""


class Target(Protocol):
    """A place for dumps."""

    @property
    def name(self) -> str:
        """What it is called in sentences, as the administrator has written it."""

    def prepare(self) -> None:
        """Make it usable: mount it, reach it, look whether it can be written to. Nothing of this stays after close."""

    def in_memory(self, root: Root) -> str | None:
        """Which kind of memory it is that a reboot clears, as "tmpfs"; None: it keeps what is saved there."""

    def room(self) -> int | None:
        """How many bytes it has for dumps; None: it can't be known."""

    def find(self, crash: Crash) -> Stored | None:
        """The whole dump of this crash that is there already, None if there is none. It is proven as a new one is."""

    def open(self, crash: Crash) -> DumpDirectory | DumpStream:
        """Where the dump of this crash is to be written."""

    def add_text(self, name: str, text: bytes) -> None:
        """Keep a text beside the dump, durably, in the place of one of that name; nothing where there is no room for
        any."""

    def add_file(self, name: str, source: Path) -> None:
        """Keep a copy of a file of this system beside the dump, durably, if there is none of that name.

        :raises TargetError: it can't be, as where there is no room for any.
        """

    def settle(self) -> Stored:
        """Make durable what has been written, and give it the name of a dump that is whole."""

    def prove(self, tell: Tell, *, complete: bool) -> str:
        """Read back what has been found or settled, and return what that proves, as "every page and checksum".

        With ``complete`` False the source had gaps: the dump says so, and what it has is all there is to prove.

        :raises TargetError: it isn't what was written; what is there no longer has the name of a whole dump.
        """

    def shelf(self) -> Shelf | None:
        """The dumps that are there; None: there can't be any other."""

    def close(self) -> None:
        """Undo what :meth:`prepare` did. Nothing is raised."""


class TargetSettings(Protocol):
    """The settings of a target, a frozen dataclass as :mod:`fadump.service.settings` reads one."""

    def target(self, root: Root) -> Target:
        """The target that they describe. Nothing is done yet."""
