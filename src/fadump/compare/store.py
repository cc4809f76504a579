"""What has been seen of real Linux, stored so that a comparison can be interrupted and continued.

Only Linux's side is stored: the model is run each time. A file is valid for the same configuration, kernel, QEMU,
questions, firmware and machine; otherwise Linux is run again.
"""

import hashlib
import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from fadump.compare.configuration import Configuration
from fadump.compare.seen import Seen
from fadump.errors import SetupError, unwritable
from fadump.file_systems import lock_at_once

_PRIVATE = 0o600
_MATTERS = (
    *("compare/configuration.py", "compare/core_head.py", "compare/questions.py", "compare/linux_side.py"),
    *("compare/recorder.py", "compare/seen.py"),
    *(
        "abi",
        "firmware",
        "kit/data/init",
        "machine/channel.py",
        "machine/contract.py",
        "machine/qemu",
        "memory",
        "session.py",
    ),
)


def what_matters() -> str:
    """A hash of all our code that Linux's answers depend on."""
    root = Path(__file__).parent.parent
    found = hashlib.sha256()
    for name in _MATTERS:
        path = root / name
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            found.update(file.read_bytes())
    return found.hexdigest()[:16]


class Store:
    """A directory with a file for each configuration and one for its console; for one comparison at a time.

    :raises SetupError: it can't be written to, or another comparison uses it.
    :raises DiskError: its disk is full, or has failed.
    """

    def __init__(self, directory: Path, basis: str) -> None:
        """``basis`` is all that the answers depend on besides kernel and configuration."""
        self._directory = directory
        self._basis = basis
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _PRIVATE)
        except OSError as error:
            raise unwritable(error)(f"can't write to {directory}: {error.strerror}") from error
        if not lock_at_once(self._lock):
            os.close(self._lock)
            raise SetupError(f"another comparison uses {directory}: wait for it, or name another --out")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._lock)

    def load(self, configuration: Configuration, kernel: str) -> Seen | None:
        """What is stored; None if there is nothing, or it is of another kernel, or can't be read."""
        try:
            kept = json.loads(self._path(configuration).read_text(encoding="utf-8"))
            return Seen.from_json(kept["seen"]) if kept["of"] == self._of(configuration, kernel) else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def save(self, configuration: Configuration, kernel: str, seen: Seen) -> None:
        """Store ``seen``; the file is whole or doesn't exist.

        :raises OSError: the file system is full, or gone.
        """
        kept = {"title": configuration.title, "of": self._of(configuration, kernel), "seen": seen.as_json()}
        path = self._path(configuration)
        unfinished = path.with_suffix(".unfinished")
        try:
            with self._create(unfinished) as file:
                file.write(json.dumps(kept, indent=1).encode() + b"\n")
            unfinished.rename(path)
        finally:
            unfinished.unlink(missing_ok=True)

    def console(self, configuration: Configuration) -> BinaryIO:
        """Create the file for this configuration's console."""
        return self._create(self.console_path(configuration))

    def console_path(self, configuration: Configuration) -> Path:
        """The name of that file."""
        return self._directory / f"{configuration.key}.console.log"

    def _of(self, configuration: Configuration, kernel: str) -> dict[str, Any]:
        return {"configuration": configuration.as_json(), "kernel": kernel, "basis": self._basis}

    def _path(self, configuration: Configuration) -> Path:
        return self._directory / f"{configuration.key}.json"

    def _create(self, path: Path) -> BinaryIO:
        path.unlink(missing_ok=True)
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE), "wb")
