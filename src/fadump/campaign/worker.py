"""What a worker says of itself, and the files that it is sent."""

import hashlib
import shutil
import socket
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from functools import cache
from pathlib import Path

import fadump
from fadump.campaign.job import Artifact
from fadump.errors import FadumpError
from fadump.run.host import available_bytes

_PROGRAMS = ("setpriv",)


@dataclass(frozen=True, slots=True)
class Look:
    """What a worker has: ``lacks`` is why it can't run anything, None: nothing is in the way."""

    lacks: str | None
    host: str
    memory_bytes: int = 0
    missing: Sequence[int] = ()
    """The artifacts that aren't there, by their place in the list."""


def look(programs: Sequence[str], artifacts: Sequence[tuple[str, str, int]]) -> tuple[object, ...]:
    """The fields of a :class:`Look`; ``artifacts`` are fields, too."""
    host = socket.gethostname()
    for program in (*_PROGRAMS, *programs):
        if shutil.which(program) is None:
            return astuple(Look(f"it has no {program}", host))
    missing = [number for number, fields in enumerate(artifacts) if Artifact(*fields).find() is None]
    return astuple(Look(None, host, available_bytes(), missing))


def receive(artifact: Artifact, offset: int, data: bytes) -> str | None:
    """Write a piece of a file that this worker lacks; what is wrong, None: nothing."""
    try:
        artifact.receive(offset, data)
    except (OSError, FadumpError) as error:
        return str(error)
    return None


@cache
def sources_hash() -> str:
    """A hash of our code and data: two that call themselves the same version may differ."""
    root = Path(fadump.__file__).parent
    found = hashlib.sha256(fadump.__version__.encode())
    for path in sorted(root.rglob("*")):
        if path.is_file() and path.suffix != ".pyc":
            found.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes())
    return found.hexdigest()
