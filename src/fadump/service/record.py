"""What lies beside a dump and says that it is ours: ``fadump.json``.

A directory is ours only with it. Nothing that is in it is taken for a proof that the dump is whole.
"""

import json
import os
import stat
from dataclasses import asdict, dataclass
from pathlib import Path

from fadump.service.crash import LATEST_SECONDS, Crash

RECORD_NAME = "fadump.json"
_MADE_BY = "fadump capture"
_MOST_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Record:
    """``crash`` is the one that the dump is of; ``proof`` says what has been proven of it, None: nothing yet."""

    crash: Crash
    proof: str | None = None
    complete: bool = False
    """Whether the dump has all that it should have."""

    def encode(self) -> bytes:
        """The file's bytes."""
        told = {"made_by": _MADE_BY, "crash": asdict(self.crash), "proof": self.proof, "complete": self.complete}
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
    return _decode(raw)


def _decode(raw: bytes) -> Record | None:
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
            return Record(Crash(identity, time, release, cause), proof, complete)
        case _:
            return None
