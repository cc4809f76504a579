"""What is given to whoever runs a case: a command and the files that it names.

A file is known by its hash: a worker takes the file of that name if it has the same content, else the copy that it was
sent.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from fadump.errors import SetupError
from fadump.kit.cache import cache_directory, private_directory

_CHUNK_BYTES = 1 << 22


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file that runs need: where it is on the computer of the campaign, and its content's SHA-256."""

    path: str
    sha256: str
    size_bytes: int

    @property
    def copy(self) -> Path:
        """Where a worker that has no such file keeps what it was sent."""
        return cache_directory() / "campaign-files" / self.sha256 / Path(self.path).name

    def find(self) -> Path | None:
        """The file on this computer; None if it isn't there, or has another content."""
        return next((path for path in (Path(self.path), self.copy) if _has(path, self)), None)

    def pieces(self) -> Iterator[tuple[int, bytes]]:
        """The file's content with the offset of each piece, to be sent.

        :raises OSError: it can't be read.
        """
        with Path(self.path).open("rb") as file:
            for offset in range(0, self.size_bytes, _CHUNK_BYTES):
                yield offset, file.read(_CHUNK_BYTES)

    def receive(self, offset: int, data: bytes) -> None:
        """Write a piece of :attr:`copy`, in their order; the last one makes it whole.

        :raises SetupError: what was received isn't the file.
        :raises OSError: it can't be written.
        """
        unfinished = self.copy.with_name(f".{self.copy.name}.{os.getpid()}")
        private_directory(private_directory(self.copy.parent.parent) / self.sha256)
        with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600), "wb") as file:
            file.seek(offset)
            file.truncate()
            file.write(data)
        if offset + len(data) < self.size_bytes:
            return
        if artifact_of(unfinished).sha256 != self.sha256:
            unfinished.unlink()
            raise SetupError(f"{self.path} has changed while it was sent")
        unfinished.rename(self.copy)


@dataclass(frozen=True, slots=True)
class Job:
    """A case as a command of ``fadump``. A word ``--option=PATH`` names the artifact of that path."""

    number: int
    words: Sequence[str]
    artifacts: Sequence[Artifact]
    timeout_seconds: float
    memory_bytes: int
    """About what a run takes."""
    program: str | None
    """A program that has to be there."""

    def local_words(self) -> list[str]:
        """The words with the files of this computer.

        :raises SetupError: one isn't here.
        """
        places = {}
        for artifact in self.artifacts:
            path = artifact.find()
            if path is None:
                raise SetupError(f"{artifact.path} is not here, or has changed since the campaign began")
            places[artifact.path] = str(path)
        return [_placed(word, places) for word in self.words]


def artifact_of(path: Path) -> Artifact:
    """The artifact in a file, by its absolute path.

    :raises OSError: it can't be read.
    """
    path = path.absolute()
    status = path.stat()
    return Artifact(str(path), _hash(str(path), status.st_mtime_ns, status.st_size, status.st_ino), status.st_size)


def _has(path: Path, artifact: Artifact) -> bool:
    try:
        return path.stat().st_size == artifact.size_bytes and artifact_of(path).sha256 == artifact.sha256
    except OSError:
        return False


@lru_cache(maxsize=256)
def _hash(path: str, _changed_ns: int, _size_bytes: int, _inode: int) -> str:
    """The hash of a file's content, calculated once for as long as the file stays the same."""
    found = hashlib.sha256()
    with Path(path).open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
        while chunk := file.read(_CHUNK_BYTES):
            found.update(chunk)
    return found.hexdigest()


def _placed(word: str, places: dict[str, str]) -> str:
    option, equals, value = word.partition("=")
    return f"{option}{equals}{places.get(value, value)}"
