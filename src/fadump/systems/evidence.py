"""What a rehearsed system has on its disks: the dump that it saved, taken out, checked and held against the crash.

The machine is off by now. Its drives are copied to sparse files, so that a journal can be replayed, and the directory
of dumps is copied out of whichever file system has it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fadump.errors import FadumpError
from fadump.firmware.contract import PreservedDump
from fadump.kit.packages import require
from fadump.kit.process import log_path, run
from fadump.machine.qemu.process import Drive
from fadump.progress import Progress
from fadump.proof.verify import Verdict, Verifier
from fadump.systems.file_systems import copy_directory, file_systems
from fadump.vmcore.check import CheckReport, Weight, check_dump
from fadump.vmcore.contract import Dump
from fadump.vmcore.dump import open_dump

_MOST_FILES = 10_000


@dataclass(frozen=True, slots=True)
class FoundDump:
    """A dump that a system has saved: ``path`` in its own file system, ``copy`` here."""

    path: str
    copy: Path
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Judged:
    """A dump, whether it is whole, and, if that was asked for, whether it is the machine at its crash."""

    dump: FoundDump
    report: CheckReport
    verdict: Verdict | None

    @property
    def damage(self) -> Sequence[str]:
        """What keeps it from being whole."""
        return [finding.text for finding in self.report.findings if finding.weight is Weight.DAMAGE]


def take_out(drives: Sequence[Drive], directory: str, since_seconds: float, target: Path) -> list[FoundDump]:
    """Copy ``directory`` out of the drives to ``target``, and name the dumps in it that were written since then.

    ``since_seconds`` counts from 1970, by the system's clock. Newest first.

    :raises SetupError: a drive can't be looked into here.
    """
    found: list[FoundDump] = []
    for number, drive in enumerate(drives):
        image = target / f"disk{number}.raw"
        try:
            _copy_drive(drive, image)
            for index, system in enumerate(file_systems(image)):
                place = target / f"crash{number}.{index}"
                for inside in _places(directory):
                    if copy_directory(system, inside, place):
                        found += _dumps(place, directory, since_seconds)
                        break
        finally:
            image.unlink(missing_ok=True)
    return sorted(found, key=lambda dump: dump.copy.stat().st_mtime, reverse=True)


def judge(found: FoundDump, verifier: Verifier | None, preserved: PreservedDump) -> Judged:
    """Check a dump, and with a verifier compare all that it has with the machine at its crash.

    :raises FormatError: it is no dump after all, or damaged so that it can't be compared.
    """
    with open_dump(found.copy) as dump:
        report = check_dump(dump)
        return Judged(found, report, None if verifier is None else verifier.judge_saved(dump, preserved))


def _copy_drive(drive: Drive, image: Path) -> None:
    require("looking into a disk image", {"qemu-img": "qemu-utils"})
    image.touch(mode=0o600)
    command = ["qemu-img", "convert", "-f", drive.format, "-O", "raw", drive.file, str(image)]
    with Progress.step("Copying the system's disk"):
        run(
            command,
            what="copying the system's disk",
            log=log_path("rehearse"),
            pass_fds=[] if drive.fd is None else [drive.fd],
        )


def _places(directory: str) -> Iterator[str]:
    """Where a directory may be in a file system that is mounted somewhere on the way to it: ``/var/crash`` is
    ``/crash`` of what is mounted at ``/var``."""
    parts = Path(directory).parts[1:]
    for first in range(len(parts)):
        yield "/" + "/".join(parts[first:])


def _dumps(place: Path, directory: str, since_seconds: float) -> Iterator[FoundDump]:
    for path in sorted(place.rglob("*"))[:_MOST_FILES]:
        if path.is_symlink() or not path.is_file() or path.stat().st_mtime < since_seconds:
            continue
        if _is_dump(path):
            inside = f"{directory.rstrip('/')}/{path.relative_to(place)}"
            yield FoundDump(inside, path, path.stat().st_size)


def _is_dump(path: Path) -> bool:
    try:
        with open_dump(path) as dump:
            return _has_memory(dump)
    except FadumpError:
        return False


def _has_memory(dump: Dump) -> bool:
    return bool(dump.memory.size_bytes)
