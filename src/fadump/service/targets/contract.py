"""What the service asks of a target.

Steps "saved" and "release" of docs/architecture.md. The calls come in this order:

    prepare, find        and, of what was found, prove; it is the end if that is whole
    open, add_text ...   then the dump is written
    settle, prove, add_text
    close

``close`` comes whatever happened. Any other call may raise a FadumpError, an OSError or
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

    ``path`` is where this system has it as a file until the target is closed, None where it doesn't; ``directory`` is
    the dump's own directory likewise, beside which are those of earlier dumps.
    """

    where: str
    path: Path | None = None
    directory: Path | None = None


class Target(Protocol):
    """A place for dumps."""

    @property
    def name(self) -> str:
        """What it is called in sentences, as the administrator has written it."""

    def prepare(self) -> None:
        """Make it usable: mount it, reach it, look whether it can be written to. Nothing of this stays after close."""

    def room(self) -> int | None:
        """How many bytes it has for dumps; None: it can't be known."""

    def find(self, crash: Crash) -> Stored | None:
        """The whole dump of this crash that is there already, None if there is none. It is proven as a new one is."""

    def open(self, crash: Crash) -> DumpDirectory | DumpStream:
        """Where the dump of this crash is to be written."""

    def add_text(self, name: str, text: bytes) -> None:
        """Keep a text beside the dump, durably, in the place of one of that name; nothing where there is no room for
        any."""

    def settle(self) -> Stored:
        """Make durable what has been written, and give it the name of a dump that is whole."""

    def prove(self, tell: Tell, *, complete: bool) -> str:
        """Read back what has been found or settled, and return what that proves, as "every page and checksum".

        With ``complete`` False the source had gaps: the dump says so, and what it has is all there is to prove.

        :raises TargetError: it isn't what was written.
        """

    def close(self) -> None:
        """Undo what :meth:`prepare` did. Nothing is raised."""


class TargetSettings(Protocol):
    """The settings of a target, a frozen dataclass as :mod:`fadump.service.settings` reads one."""

    def target(self, root: Root) -> Target:
        """The target that they describe. Nothing is done yet."""
