"""The files of a run: ``vmcore``, ``console.log``, ``firmware.log``, ``timeline.json``, on powernv ``opalcore``, with a
hash MMU ``hpte``.

With several cycles, each keeps its dump: ``vmcore.1``, ``opalcore.1`` and so on. A dump holds secrets, so every file is
created new, 0600. A dump is called ``.incomplete`` until all of it is durable: it is written through a
:class:`~fadump.capture.target.FileTarget`, as one that is saved.
"""

import errno
import io
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from fadump.capture.files import HOST, Files
from fadump.capture.target import FileTarget
from fadump.errors import MachineError, SetupError, naming, unwritable
from fadump.file_systems import lock_at_once
from fadump.firmware.contract import Answer, FirmwareCall, Outcome, PassThrough, PreservedDump, Trigger, Watched
from fadump.machine.channel import Report, Saved, SavedOpalCore
from fadump.machine.contract import Handover
from fadump.observer import Milestone, Observer, Seen, milestone_after
from fadump.run.console import CONSOLE_LOG
from fadump.run.earlier import put_back, set_aside

_PRIVATE = 0o600
_PIECE_BYTES = 8 << 20
_FULL_BYTES = 16 << 20
"""If a guest's write fails on a disk with less free space than this, that is taken as the reason."""


class OutputDirectory:
    """A directory for one run at a time; files of an earlier run are moved aside before anything is created.

    :raises SetupError: it can't be used, or another run is using it.
    :raises DiskError: its disk is full, or has failed.
    """

    def __init__(self, path: Path, vmcore_room_bytes: int, cycles: int = 1, files: Files = HOST) -> None:
        self.path = path
        self._vmcore_room_bytes = vmcore_room_bytes
        self._cycles = cycles
        self._files = files
        self._cycle = 1
        self._timeline: list[dict[str, object]] = []
        self._reached: Milestone | None = None
        self._vmcore_bytes: int | None = None
        self.earlier: Path | None = None
        """Where the files of an earlier run have been moved, if there were any."""

    def __enter__(self) -> Self:
        with ExitStack() as ends:
            try:
                self.path.mkdir(parents=True, exist_ok=True)
                directory_fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                ends.callback(os.close, directory_fd)
                self._lock(directory_fd)
                self.earlier = set_aside(self.path)
                ends.callback(self._undo_if_unused)
                self._disk = FileTarget(self.path / "vmcore", self._files)
                ends.callback(self._close_disk)
                self._disk.truncate(self._vmcore_room_bytes)
                self.console_log = ends.enter_context(self._create(CONSOLE_LOG))
                self._firmware_log = ends.enter_context(self._create("firmware.log"))
            except OSError as error:
                raise unwritable(error)(f"can't write to {self.path}: {error.strerror}") from error
            self._ends = ends.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ends.close()

    def _close_disk(self) -> None:
        self._disk.has_begun = os.fstat(self.vmcore_fd).st_blocks > 0
        self._disk.close()

    def _undo_if_unused(self) -> None:
        """If the machine was never powered on, put an earlier run's files back; without one, keep logs with content."""
        if self._timeline:
            return
        for log in (self.path / CONSOLE_LOG, self.path / "firmware.log"):
            if self.earlier is not None or (log.exists() and not log.stat().st_size):
                log.unlink(missing_ok=True)
        if self.earlier is not None:
            with suppress(OSError):  # the error to report is why the run can't begin; the next one completes the set
                put_back(self.earlier)

    def _lock(self, directory_fd: int) -> None:
        if not lock_at_once(directory_fd):
            raise SetupError(f"another run is writing to {self.path}: wait for it, or name another --out")

    @property
    def vmcore_fd(self) -> int:
        """The guest's disk, which is the same in all cycles."""
        return self._disk.fd

    @property
    def vmcore_on_disk(self) -> Path:
        """The guest's disk, which begins with the dump once it is saved."""
        return self._disk.incomplete

    @property
    def opalcore(self) -> Path | None:
        """OPAL's core of this cycle, once it is saved."""
        path = self._of_cycle("opalcore")
        return path if path.exists() else None

    @property
    def phase(self) -> Milestone:
        """The milestone that the machine will reach next, by the timeline."""
        return milestone_after(self._reached)

    @property
    def is_full(self) -> bool:
        """Whether the disk has no room left for a dump."""
        return shutil.disk_usage(self.path).free < _FULL_BYTES

    def _of_cycle(self, name: str) -> Path:
        return self.path / (name if self._cycles == 1 else f"{name}.{self._cycle}")

    def watch(self, observer: Observer) -> Observer:
        """An observer that writes the logs and passes everything on to ``observer``."""
        return _Recorder(self, observer)

    def note_milestone(self, milestone: Milestone, at_seconds: float) -> None:
        """Add to the timeline, which is written to the disk at each milestone."""
        self._reached = milestone
        self._timeline.append({"event": milestone, "at_seconds": round(at_seconds, 3)})
        with self._create("timeline.json") as file:
            file.write(json.dumps(self._timeline, indent=1).encode() + b"\n")

    def note_firmware(self, line: str, at_seconds: float) -> None:
        """Add a line to the firmware's log."""
        self._firmware_log.write(f"{at_seconds:9.3f} {line}\n".encode())
        self._firmware_log.flush()

    def note_vmcore_bytes(self, size_bytes: int) -> None:
        """Record that so many bytes of the disk are the dump.

        :raises MachineError: the guest's disk is shorter.
        """
        if size_bytes > self._vmcore_room_bytes:
            raise MachineError(f"the guest says that its dump has {size_bytes:#x} bytes, more than its disk")
        self._vmcore_bytes = size_bytes

    def take_opalcore(self, offset: int, size_bytes: int) -> None:
        """Copy OPAL's core, which the guest has written to this part of the disk, to a file of its own.

        :raises MachineError: the guest's disk is shorter.
        :raises OSError: the file system failed.
        """
        if offset + size_bytes > os.fstat(self.vmcore_fd).st_size:
            raise MachineError(f"the guest says that OPAL's core ends at {offset + size_bytes:#x}, behind its disk")
        self._copy(offset, size_bytes, self._of_cycle("opalcore"))

    def take_hash_table(self, pieces: Iterable[bytes]) -> None:
        """Write what was preserved of the hash page table to a file of its own.

        :raises OSError: the file system failed.
        """
        path = self._of_cycle("hpte")
        with naming(path), closing(FileTarget(path, self._files)) as target:
            at = 0
            try:
                for piece in pieces:
                    target.write(at, piece)
                    at += len(piece)
                target.publish()
            except BaseException:
                target.has_begun = False  # leave no part of it
                raise

    def next_cycle(self, vmcore_bytes: int) -> Path:
        """Move this cycle's dump, the disk's first ``vmcore_bytes``, to a file of its own; the disk is empty then.

        The guest keeps running, and must not write to its disk meanwhile.

        :raises OSError: the file system failed.
        """
        vmcore = self._of_cycle("vmcore")
        self._copy(0, vmcore_bytes, vmcore)
        self._vmcore_bytes = None  # set first, so that an interruption can't leave it set without a dump on the disk
        self._disk.truncate(0)
        self._disk.truncate(self._vmcore_room_bytes)
        self._cycle += 1
        return vmcore

    def _copy(self, offset: int, size_bytes: int, path: Path) -> None:
        """Copy part of the disk to a file, durably and with its holes."""
        with naming(path), closing(FileTarget(path, self._files)) as target:
            try:
                for start, end in _data(self.vmcore_fd, offset, offset + size_bytes):
                    for at in range(start, end, _PIECE_BYTES):
                        piece = os.pread(self.vmcore_fd, min(_PIECE_BYTES, end - at), at)
                        target.write(at - offset, piece)
                target.truncate(size_bytes)
                target.publish()
            except BaseException:
                target.has_begun = False  # remove the incomplete copy: the disk still has all of it
                raise

    def publish(self, vmcore_bytes: int) -> Path:
        """Truncate the disk to this cycle's dump, make it durable, and give it its name.

        The guest must have ended, as it could still write.

        :raises OSError: the file system failed; the dump keeps its incomplete name.
        """
        with naming(self._disk.incomplete):
            self._disk.truncate(vmcore_bytes)
            self._disk.path = self._of_cycle("vmcore")
            self._disk.publish()
        return self._disk.path

    def publish_saved(self) -> Path | None:
        """As :meth:`publish`, for a cycle that has failed; None if no dump was saved."""
        return None if self._vmcore_bytes is None else self.publish(self._vmcore_bytes)

    def _create(self, name: str) -> io.BufferedWriter:
        """Create a new file: an existing one may be readable by others, or already opened by them."""
        (self.path / name).unlink(missing_ok=True)
        return io.BufferedWriter(NamedFile(self.path / name, "xb", opener=partial(os.open, mode=_PRIVATE)))


class NamedFile(io.FileIO):
    """A file that is also named in write errors; the system names a file only if opening it fails."""

    def write(self, data: Any, /) -> int:  # noqa: ANN401 - collections.abc.Buffer comes with Python 3.12
        with naming(self.name):
            return super().write(data)


def _data(fd: int, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Where a file has data from ``start`` to ``end``, piece by piece; between pieces are holes."""
    while start < end:
        try:
            start = os.lseek(fd, start, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # a hole up to the end of the file
                return
            raise
        hole = os.lseek(fd, start, os.SEEK_HOLE)
        if start < end:
            yield start, min(hole, end)
        start = hole


class _Recorder:
    """Writes what happens to the output directory, then passes it on."""

    def __init__(self, output: OutputDirectory, observer: Observer) -> None:
        self._output = output
        self._observer = observer
        self._reported_bytes = 0

    def milestone(self, milestone: Milestone, at_seconds: float) -> None:
        if milestone is Milestone.SAVED:
            self._output.note_vmcore_bytes(self._reported_bytes)
        self._output.note_milestone(milestone, at_seconds)
        self._observer.milestone(milestone, at_seconds)

    def handed_over(self, handover: Handover) -> None:
        self._observer.handed_over(handover)

    def firmware_call(self, call: FirmwareCall, outcome: Outcome, at_seconds: float) -> None:
        self._output.note_firmware(f"{call_text(call)} -> {outcome_text(outcome)}", at_seconds)
        self._observer.firmware_call(call, outcome, at_seconds)

    def seen(self, seen: Seen, at_seconds: float) -> None:
        self._observer.seen(seen, at_seconds)

    def terminated(self, trigger: Trigger, at_seconds: float) -> None:
        self._output.note_firmware(outcome_text(trigger), at_seconds)
        self._observer.terminated(trigger, at_seconds)

    def preserved(self, dump: PreservedDump, at_seconds: float) -> None:
        for region in dump.regions:
            self._output.note_firmware(
                f"preserved type {region.type:#x}: {region.copied_bytes:#x} of {region.requested_bytes:#x} bytes "
                f"from {region.source:#x} to {region.destination:#x}, error flags {region.error_flags:#x}",
                at_seconds,
            )
        self._observer.preserved(dump, at_seconds)

    def report(self, report: Report) -> None:
        match report:
            case Saved(vmcore_bytes):  # it isn't a dump until the cycle has found that it is all of /proc/vmcore
                self._reported_bytes = vmcore_bytes
            case SavedOpalCore(size_bytes, disk_offset):
                self._output.take_opalcore(disk_offset, size_bytes)
        self._observer.report(report)


def call_text(call: FirmwareCall) -> str:
    arguments = " ".join(f"{argument:#x}" for argument in call.args)
    return f"CPU {call.cpu_id} token {call.token:#x} ({arguments})"


def outcome_text(outcome: Outcome) -> str:
    match outcome:
        case Answer(status=status, reason=reason):
            return f"status {int(status)}" + (f": {reason}" if reason else "")
        case PassThrough():
            return "passed through"
        case Trigger(kind=kind, message=message):
            return f"dump triggered by {kind.value}" + (f": {message}" if message else "")
        case Watched(trigger=trigger):
            return f"passed through: {outcome_text(trigger)}"
