"""The results of a campaign: one SQLite file, which is whole whenever the campaign ends, however it ends.

Version 1 of its schema is :data:`_SCHEMA`; docs/campaign.md says what is in it. A result is there when it is durable,
and once: a run's number is the key of its row. One campaign at a time writes to a file; any number may read it.
"""

import errno
import json
import math
import os
import sqlite3
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType, UnionType
from typing import Any, Self

import fadump
from fadump.campaign.job import Artifact
from fadump.campaign.matrix import Value
from fadump.campaign.outcome import Cost, Outcome, Run
from fadump.errors import DiskError, FormatError, SetupError, UsageError, reason, unwritable
from fadump.file_systems import lock_at_once
from fadump.printable import as_utf8, quoted

VERSION = 1
_APPLICATION = 0x66616475  # "fadu"
_MAGIC = b"SQLite format 3\0"
_PRIVATE = 0o600
_WAIT_SECONDS = 30.0
_MOST_FILE_BYTES = 1 << 22
_KINDS_OF_A_RUN = (int, str, int | None, str | None, str | None, str, str, float, float, int)
_SCHEMA = """
CREATE TABLE campaign (name TEXT NOT NULL, seed TEXT NOT NULL, fadump TEXT NOT NULL, began TEXT NOT NULL);
CREATE TABLE artifacts (path TEXT PRIMARY KEY, sha256 TEXT NOT NULL, size_bytes INTEGER NOT NULL);
CREATE TABLE cases (number INTEGER PRIMARY KEY, factors TEXT NOT NULL, words TEXT NOT NULL);
CREATE TABLE runs (
    number INTEGER PRIMARY KEY REFERENCES cases, outcome TEXT NOT NULL, exit_code INTEGER, error TEXT, phase TEXT,
    seconds REAL NOT NULL, cpu_seconds REAL NOT NULL, memory_bytes INTEGER NOT NULL, host TEXT NOT NULL,
    began TEXT NOT NULL
);
CREATE TABLE files (number INTEGER REFERENCES runs, name TEXT, content BLOB NOT NULL, PRIMARY KEY (number, name));
"""


@dataclass(frozen=True, slots=True)
class Planned:
    """A case as it is kept: its number, its factors' values, and the words of its command."""

    number: int
    values: Mapping[str, Value]
    words: Sequence[str]


@dataclass(frozen=True, slots=True)
class Plan:
    """All that a campaign is to run."""

    name: str
    seed: str
    cases: Sequence[Planned]
    artifacts: Sequence[Artifact]


class Results:
    """The file, open: :meth:`create` writes to it, :meth:`read` doesn't."""

    def __init__(self, path: Path, database: sqlite3.Connection, lock_fd: int | None) -> None:
        self.path = path
        self._database = database
        self._lock_fd = lock_fd

    @classmethod
    def create(cls, path: Path, plan: Plan) -> Self:
        """Make the file, or go on with the one that is there, if it is of the same plan.

        :raises UsageError: it is of another one.
        :raises SetupError: it can't be written, or another campaign does.
        :raises DiskError: the disk is full, or has failed.
        :raises FormatError: the file is something else.
        """
        fd = _open_locked(path)
        is_new_file = os.fstat(fd).st_size == 0
        try:
            results = cls(path, _connect(path, "rw"), fd)
        except BaseException:
            os.close(fd)
            raise
        try:
            with results._translated():
                if results._is_empty():
                    results._begin(plan)
                else:
                    results._check_format()
                    results._check_plan(plan)
        except BaseException:
            results.close()
            if is_new_file:
                path.unlink(missing_ok=True)
            raise
        return results

    @classmethod
    def read(cls, path: Path) -> Self:
        """Open a file that is there.

        :raises SetupError: it isn't, or can't be read.
        :raises FormatError: it is something else.
        """
        try:
            with path.open("rb") as file:
                file.read(1)
        except OSError as error:
            raise SetupError(f"{path} can't be read: {reason(error)}") from error
        # what a killed campaign has left half written is taken back by the next one who opens the file to write
        results = cls(path, _connect(path, "rw" if os.access(path, os.W_OK) else "ro"), None)
        try:
            with results._translated():
                results._check_format()
        except BaseException:
            results.close()
            raise
        return results

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close it, and let others write."""
        self._database.close()
        if self._lock_fd is not None:
            os.close(self._lock_fd)  # after the database: SQLite's own locks end with any descriptor of the file

    def plan(self) -> Plan:
        """What is to be run.

        :raises FormatError: the file is damaged.
        """
        with self._translated():
            name, seed = _checked(self._database.execute("SELECT name, seed FROM campaign").fetchone(), (str, str))
            cases = [_planned(*row) for row in self._database.execute("SELECT * FROM cases ORDER BY number")]
            if len({tuple(case.values) for case in cases}) != 1:
                raise ValueError("it has no cases, or not all of them have the same factors")
            rows = self._database.execute("SELECT * FROM artifacts ORDER BY path")
            artifacts = [Artifact(*_checked(row, (str, str, int))) for row in rows]
        return Plan(name, seed, cases, artifacts)

    def runs(self) -> dict[int, Run]:
        """The runs that have ended, by their number, without their files.

        :raises FormatError: the file is damaged.
        """
        with self._translated():
            rows = self._database.execute(
                "SELECT number, outcome, exit_code, error, phase, host, began, seconds, cpu_seconds, memory_bytes "
                "FROM runs ORDER BY number"
            )
            return {
                number: Run(Outcome(outcome), exit_code, error, phase, Cost(*cost), host, began)
                for number, outcome, exit_code, error, phase, host, began, *cost in (
                    _checked(row, _KINDS_OF_A_RUN) for row in rows
                )
            }

    def files(self, number: int) -> Mapping[str, bytes]:
        """What is kept of a run, by name.

        :raises FormatError: the file is damaged.
        """
        with self._translated():
            rows = self._database.execute("SELECT name, content FROM files WHERE number = ? ORDER BY name", (number,))
            return {name: zlib.decompressobj().decompress(content, _MOST_FILE_BYTES) for name, content in rows}

    def add(self, number: int, run: Run) -> None:
        """Keep a run that has ended, in place of one that could not be tried; it is durable when this returns.

        :raises DiskError: the disk is full, or has failed.
        """
        with self._translated(), self._database:
            self._database.execute(
                "DELETE FROM runs WHERE number = ? AND outcome = ?", (number, Outcome.NOT_TRIED.value)
            )
            self._database.execute("DELETE FROM files WHERE number = ?", (number,))
            error = None if run.error is None else as_utf8(run.error)
            row = (run.outcome.value, run.exit_code, error, run.phase, *astuple(run.cost), run.host, run.began)
            self._database.execute("INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", (number, *row))
            kept = [(number, name, zlib.compress(content)) for name, content in run.files.items()]
            self._database.executemany("INSERT INTO files VALUES (?, ?, ?)", kept)

    def _is_empty(self) -> bool:
        """Whether there is nothing in it: it is new, or a campaign was killed as it made it."""
        (tables,) = self._database.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        return bool(tables == 0)

    def _begin(self, plan: Plan) -> None:
        with self._database:
            # executescript() would end the transaction: all of it is there, or nothing
            self._database.execute("BEGIN IMMEDIATE")
            for statement in filter(str.strip, _SCHEMA.split(";")):
                self._database.execute(statement)
            now = datetime.now(UTC).isoformat(timespec="seconds")
            row = (plan.name, plan.seed, fadump.__version__, now)
            self._database.execute("INSERT INTO campaign VALUES (?, ?, ?, ?)", row)
            artifacts = [(artifact.path, artifact.sha256, artifact.size_bytes) for artifact in plan.artifacts]
            self._database.executemany("INSERT INTO artifacts VALUES (?, ?, ?)", artifacts)
            cases = [(case.number, json.dumps(case.values), json.dumps(case.words)) for case in plan.cases]
            self._database.executemany("INSERT INTO cases VALUES (?, ?, ?)", cases)
            self._database.execute(f"PRAGMA application_id = {_APPLICATION}")
            self._database.execute(f"PRAGMA user_version = {VERSION}")

    def _check_format(self) -> None:
        (application,) = self._database.execute("PRAGMA application_id").fetchone()
        (version,) = self._database.execute("PRAGMA user_version").fetchone()
        if application != _APPLICATION:
            raise FormatError(f"{self.path} has no campaign's results: it is another program's database")
        if version != VERSION:
            raise FormatError(
                f"{self.path} has results of version {version}, and this fadump reads version {VERSION}: use the "
                "fadump that has written it"
            )

    def _check_plan(self, plan: Plan) -> None:
        kept = self.plan()
        hashes = {artifact.path: artifact.sha256 for artifact in kept.artifacts}
        for artifact in plan.artifacts:
            if hashes.get(artifact.path, artifact.sha256) != artifact.sha256:
                raise UsageError(
                    f"{artifact.path} has changed since the campaign of {self.path} began: name another --results"
                )
        if [(case.number, case.values, [*case.words]) for case in kept.cases] != [
            (case.number, case.values, [*case.words]) for case in plan.cases
        ]:
            raise UsageError(
                f"{self.path} has the results of another campaign, or of this one before its file was changed: name "
                "another --results"
            )

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Errors of SQLite's as ours."""
        try:
            yield
        except sqlite3.Error as error:
            raise _translated(self.path, error) from error
        except UnicodeEncodeError as error:
            raise UsageError(f"{quoted(error.object)} isn't UTF-8, which results are kept in: rename it") from error
        except (ValueError, TypeError, AttributeError, RecursionError, zlib.error) as error:
            if isinstance(error, FormatError):
                raise
            raise FormatError(f"{self.path} is damaged: {error}") from error


def _checked(row: Sequence[Any], kinds: Sequence[type | UnionType]) -> Sequence[Any]:
    """A row whose columns have these types: SQLite takes any.

    :raises TypeError: one has another.
    """
    for value, kind in zip(row, kinds, strict=True):
        if not isinstance(value, kind) or (isinstance(value, float) and not math.isfinite(value)):
            raise TypeError(f"it has {quoted(str(value))} where something else has to be")
    return row


def _planned(number: int, factors: str, words: str) -> Planned:
    values, listed = json.loads(factors), json.loads(words)
    for texts in (listed, *values.values()):
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise TypeError(f"case {number} has something else than texts")
    if not listed:
        raise ValueError(f"case {number} has no command")
    return Planned(number, {name: tuple(value) for name, value in values.items()}, listed)


def _open_locked(path: Path) -> int:
    """The file, made if it isn't there, for us alone."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _PRIVATE)
    except OSError as error:
        raise unwritable(error)(f"{path} can't be written: {reason(error)}: name another --results") from error
    try:
        _check_usable(path, fd)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _check_usable(path: Path, fd: int) -> None:
    """Lock the file, if it is SQLite's or empty; SQLite itself takes any short file for an empty one."""
    if not lock_at_once(fd):
        raise SetupError(f"another campaign writes to {path}: wait for it, or name another --results")
    if os.pread(fd, len(_MAGIC), 0) not in (_MAGIC, b""):
        raise FormatError(f"{path} has no campaign's results: name another --results")


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    try:
        return sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", timeout=_WAIT_SECONDS, uri=True)
    except sqlite3.Error as error:
        raise _translated(path, error) from error


def _translated(path: Path, error: sqlite3.Error) -> Exception:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    match code:
        case 0:  # no error of SQLite's, but of what is read from it, as text that isn't UTF-8
            return FormatError(f"{path} is damaged: {error}")
        case sqlite3.SQLITE_NOTADB | sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_ERROR:
            return FormatError(f"{path} has no campaign's results, or is damaged: {error}")
        case sqlite3.SQLITE_FULL:
            return DiskError(f"{path} can't be written: {os.strerror(errno.ENOSPC)}: make room, and run it again")
        case sqlite3.SQLITE_IOERR:
            return DiskError(f"{path} can't be read or written: its disk has failed ({error})")
    return SetupError(f"{path} can't be used: {error}")
