"""The files of a run: ``vmcore``, ``console.log``, ``firmware.log``, ``timeline.json``, on powernv ``opalcore``.

A dump holds secrets, so every file is created anew, 0600. A dump is called ``vmcore.incomplete`` until all of it is
on the disk; only then does it get its name.
"""

import fcntl
import json
import os
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from fadump.capture.dmesg import dmesg_name
from fadump.errors import MachineError, SetupError
from fadump.firmware.contract import Answer, FirmwareCall, Outcome, PassThrough, PreservedDump, Trigger, Watched
from fadump.machine.channel import Report, Saved, SavedOpalCore
from fadump.session import Milestone, Observer

_PRIVATE = 0o600
_OPALCORE = "opalcore"


class OutputDirectory:
    """A directory for one run at a time; files of an earlier run are replaced.

    :raises SetupError: it can't be used, or another run is using it.
    """

    def __init__(self, path: Path, vmcore_room_bytes: int) -> None:
        self._path = path
        self._vmcore_room_bytes = vmcore_room_bytes
        self._incomplete = path / "vmcore.incomplete"
        self._timeline: list[dict[str, object]] = []
        self._vmcore_bytes: int | None = None

    def __enter__(self) -> Self:
        try:
            self._path.mkdir(parents=True, exist_ok=True)
            self._directory_fd = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise self._unusable(error) from error
        try:
            self._lock()
            (self._path / _OPALCORE).unlink(missing_ok=True)  # an earlier run's
            self._incomplete.unlink(missing_ok=True)
            self.vmcore_fd = os.open(self._incomplete, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _PRIVATE)
        except BaseException as error:
            os.close(self._directory_fd)
            if isinstance(error, OSError):
                raise self._unusable(error) from error
            raise
        os.ftruncate(self.vmcore_fd, self._vmcore_room_bytes)
        self.console_log: BinaryIO = self._create("console.log")
        self._firmware_log = self._create("firmware.log")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.console_log.close()
        self._firmware_log.close()
        if self._incomplete.exists() and not os.fstat(self.vmcore_fd).st_blocks:
            self._incomplete.unlink()  # not a byte of the dump has come
        os.close(self.vmcore_fd)
        os.close(self._directory_fd)

    def _lock(self) -> None:
        try:
            fcntl.flock(self._directory_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SetupError(f"another run is writing to {self._path}: wait for it, or name another --out") from None

    def _unusable(self, error: OSError) -> SetupError:
        return SetupError(f"can't write to {self._path}: {error.strerror}")

    @property
    def vmcore_on_disk(self) -> Path:
        """The guest's disk, which begins with the dump once it is saved."""
        return self._incomplete

    @property
    def opalcore(self) -> Path | None:
        """OPAL's core, once it is saved."""
        path = self._path / _OPALCORE
        return path if path.exists() else None

    def watch(self, observer: Observer) -> Observer:
        """An observer that writes the logs and tells this one too."""
        return _Recorder(self, observer)

    def note_milestone(self, milestone: Milestone, at_seconds: float) -> None:
        """Add to the timeline, which is complete on the disk after each milestone."""
        self._timeline.append({"event": milestone, "at_seconds": round(at_seconds, 3)})
        with self._create("timeline.json") as file:
            file.write(json.dumps(self._timeline, indent=1).encode() + b"\n")

    def note_firmware(self, line: str, at_seconds: float) -> None:
        """Add a line to the firmware's log."""
        self._firmware_log.write(f"{at_seconds:9.3f} {line}\n".encode())
        self._firmware_log.flush()

    def note_vmcore_bytes(self, size_bytes: int) -> None:
        """So many bytes of the disk are the dump."""
        self._vmcore_bytes = size_bytes

    def take_opalcore(self, offset: int, size_bytes: int) -> None:
        """Copy OPAL's core, which the guest has put there on the disk, to a file of its own."""
        with self._create(_OPALCORE) as file:
            while size_bytes and (copied_bytes := os.sendfile(file.fileno(), self.vmcore_fd, offset, size_bytes)):
                offset += copied_bytes
                size_bytes -= copied_bytes
            os.fsync(file.fileno())
        if size_bytes:
            raise MachineError(f"the guest says that OPAL's core ends {size_bytes:#x} bytes behind its disk's end")

    def publish_saved(self) -> Path | None:
        """Cut the disk to the dump, make it durable, and give it its name; None if no dump was saved.

        The guest must be gone: it could still write.

        :raises OSError: the file system failed; the dump keeps its incomplete name.
        """
        if self._vmcore_bytes is None:
            return None
        os.ftruncate(self.vmcore_fd, self._vmcore_bytes)
        os.fsync(self.vmcore_fd)
        vmcore = self._path / "vmcore"
        dmesg_name(vmcore).unlink(missing_ok=True)  # an earlier run's
        self._incomplete.rename(vmcore)
        os.fsync(self._directory_fd)
        return vmcore

    def _create(self, name: str) -> BinaryIO:
        """Anew: a file that is there may be anybody's to read, or have been opened by somebody."""
        (self._path / name).unlink(missing_ok=True)
        return os.fdopen(os.open(self._path / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE), "wb")


class _Recorder:
    """Writes what happens to the output directory, then passes it on."""

    def __init__(self, output: OutputDirectory, observer: Observer) -> None:
        self._output = output
        self._observer = observer

    def milestone(self, milestone: Milestone, at_seconds: float) -> None:
        self._output.note_milestone(milestone, at_seconds)
        self._observer.milestone(milestone, at_seconds)

    def firmware_call(self, call: FirmwareCall, outcome: Outcome, at_seconds: float) -> None:
        self._output.note_firmware(f"{_call_text(call)} -> {_outcome_text(outcome)}", at_seconds)
        self._observer.firmware_call(call, outcome, at_seconds)

    def terminated(self, trigger: Trigger, at_seconds: float) -> None:
        self._output.note_firmware(_outcome_text(trigger), at_seconds)
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
            case Saved(vmcore_bytes):
                self._output.note_vmcore_bytes(vmcore_bytes)
            case SavedOpalCore(size_bytes, disk_offset):
                self._output.take_opalcore(disk_offset, size_bytes)
        self._observer.report(report)


def _call_text(call: FirmwareCall) -> str:
    arguments = " ".join(f"{argument:#x}" for argument in call.args)
    return f"CPU {call.cpu_id} token {call.token:#x} ({arguments})"


def _outcome_text(outcome: Outcome) -> str:
    match outcome:
        case Answer(status=status, reason=reason):
            return f"status {int(status)}" + (f": {reason}" if reason else "")
        case PassThrough():
            return "passed through"
        case Trigger(kind=kind, message=message):
            return f"dump triggered by {kind.value}" + (f": {message}" if message else "")
        case Watched(trigger=trigger):
            return f"passed through: {_outcome_text(trigger)}"
