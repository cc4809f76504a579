"""A directory in which another service has saved the dump of this boot: it is proven there, and never written to.

With ``fadump capture --saved-in`` it comes before the targets of the configuration. If the dump isn't whole there, the
first of those that takes it has it.
"""

from contextlib import suppress
from pathlib import Path

from fadump.capture.files import HOST as HOST_FILES
from fadump.capture.target import copy_file, write_text
from fadump.errors import FadumpError, reason
from fadump.service.crash import Crash, identity
from fadump.service.dumps import dump_files, is_whole_name
from fadump.service.lasting import in_memory
from fadump.service.proof import prove_theirs
from fadump.service.record import RECORD_NAME, Record
from fadump.service.root import Root
from fadump.service.shelf import DirectoryShelf
from fadump.service.targets.contract import DumpDirectory, Stored, TargetError, Tell
from fadump.vmcore.dump import open_dump

_NOT_OURS = "another service has written it, and nobody else does"


class TheirDirectory:
    """Implements :class:`~fadump.service.targets.contract.Target`, as far as a dump is there already."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found: tuple[Path, Crash] | None = None
        self._why = "it has no dump of this crash"

    @property
    def name(self) -> str:
        return str(self._path)

    def prepare(self) -> None:
        if not self._path.is_dir():
            raise TargetError("it is no directory")

    def in_memory(self, root: Root) -> str | None:
        return in_memory(root.mounts, self._path)

    def room(self) -> int | None:
        return 0

    def find(self, crash: Crash) -> Stored | None:
        try:
            dumps = sorted(dump_files(self._path), key=lambda path: path.lstat().st_mtime, reverse=True)
        except OSError as error:
            raise TargetError(f"it can't be read: {reason(error)}") from error
        for path in dumps:
            if _identity(path) != crash.identity:
                continue
            if is_whole_name(path.name):
                self._found = path, crash
                return Stored(str(path), path)
            self._why = f"{path} was not finished"
        return None

    def open(self, crash: Crash) -> DumpDirectory:
        raise TargetError(self._why)

    def add_text(self, name: str, text: bytes) -> None:
        raise TargetError(_NOT_OURS)

    def add_file(self, name: str, source: Path) -> None:
        """The dump's directory takes it, if it has one of its own."""
        directory = self._own
        if directory is None:
            raise TargetError("it has no directory of its own")
        if not (directory / name).exists():
            copy_file(source, directory / name, HOST_FILES)

    def settle(self) -> Stored:
        raise TargetError(_NOT_OURS)

    def prove(self, tell: Tell, *, complete: bool) -> str:
        """Prove what was found. Its directory then has a record, by which ``keep`` counts it."""
        if self._found is None:
            raise TargetError(self._why)
        dump, crash = self._found
        try:
            proof = prove_theirs(dump, tell)
        except TargetError as error:
            self._why = str(error)
            raise
        if dump.parent != self._path:
            with suppress(FadumpError, OSError):  # as on a disk that is full by now: the dump is safe
                write_text(dump.parent / RECORD_NAME, Record(crash, proof, complete).encode(), HOST_FILES)
        return proof

    def shelf(self) -> DirectoryShelf | None:
        """Their dumps that were proven, which have a record."""
        own = self._own
        return None if own is None else DirectoryShelf(self._path, self.name, own)

    @property
    def _own(self) -> Path | None:
        """The directory of the dump that was found, if it has one of its own."""
        if self._found is None or self._found[0].parent == self._path:
            return None
        return self._found[0].parent

    def close(self) -> None:
        """Nothing was opened."""


def _identity(path: Path) -> str | None:
    with suppress(FadumpError, OSError), open_dump(path) as dump:
        return identity(dump)
    return None
