"""What lies beside a dump and says that it is ours: ``fadump.json``.

A directory is ours only with it. Nothing that is in it is taken for a proof that the dump is whole.
"""

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from fadump.service.crash import LATEST_SECONDS, Crash

RECORD_NAME = "fadump.json"
_MADE_BY = "fadump capture"
_MOST_BYTES = 1 << 20
_MACHINE_ID = Path("/etc/machine-id")


def this_machine() -> str | None:
    """A word for this system, which says nothing else of it; None: it has no ID, see machine-id(5)."""
    with suppress(OSError):
        return hashlib.sha256(b"fadump" + _MACHINE_ID.read_bytes().strip()).hexdigest()[:32]
    return None


@dataclass(frozen=True, slots=True)
class Record:
    """``crash`` is the one that the dump is of; ``proof`` says what has been proven of it, None: nothing yet."""

    crash: Crash
    proof: str | None = None
    complete: bool = False
    """Whether the dump has all that it should have."""
    machine: str | None = field(default_factory=this_machine)
    """Whose dump it is, where several systems have theirs in one directory; None: it doesn't say."""

    @property
    def is_of_another_machine(self) -> bool:
        """Whether it is not for this system to remove."""
        return self.machine not in (None, this_machine())

    def encode(self) -> bytes:
        """The file's bytes."""
        told = {"made_by": _MADE_BY, "crash": asdict(self.crash), "proof": self.proof, "complete": self.complete}
        told["machine"] = self.machine
        return json.dumps(told, indent=2).encode() + b"\n"


def read_record(directory: Path) -> Record | None:
    """The record in a directory; None if there is none that we have made, which nobody else may write to."""
    try:
        fd = os.open(directory / RECORD_NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_uid not in (0, os.geteuid()):
            return None
        raw = os.read(fd, _MOST_BYTES)
    except OSError:
        return None
    finally:
        os.close(fd)
    return decode_record(raw)


def dump_directories(path: Path) -> Iterator[Path]:
    """The directories below ``path`` that we have made, by their names; links and those of others are none.

    :raises OSError: it can't be read.
    """
    for directory in sorted(path.iterdir()):
        with suppress(OSError):
            status = directory.lstat()
            if stat.S_ISDIR(status.st_mode) and status.st_uid in (0, os.geteuid()) and read_record(directory):
                yield directory


def decode_record(raw: bytes) -> Record | None:
    """What the file's bytes say; None: they aren't what we have made."""
    try:
        told = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    match told:
        case {
            "made_by": "fadump capture",
            "crash": {
                "identity": str(identity),
                "time": int() | None as time,
                "release": str() | None as release,
                "cause": str() | None as cause,
            },
            "proof": str() | None as proof,
            "complete": bool(complete),
        } if time is None or 0 <= time <= LATEST_SECONDS:
            machine = told.get("machine")
            return Record(
                Crash(identity, time, release, cause), proof, complete, None if machine is None else str(machine)
            )
        case _:
            return None
