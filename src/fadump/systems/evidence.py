"""What a rehearsed system has on its disks: the dump that it saved, taken out, checked and held against the crash.

The machine is off by now. Its drives are copied to sparse files, so that a journal can be replayed, and the directory
of dumps is copied out of whichever file system has it. Those files have no names: they are gone, whatever ends.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from fadump.errors import FadumpError
from fadump.firmware.contract import PreservedDump
from fadump.kit.packages import require
from fadump.kit.process import log_path, run
from fadump.machine.qemu.config import DiskFormat, Drive
from fadump.progress import Progress
from fadump.proof.verify import Verdict, Verifier
from fadump.systems.disks import image_format, scratch_place
from fadump.systems.file_systems import UnreadableError, check_readable, copy_directory, file_systems
from fadump.systems.volumes import name_of, unnamed_file
from fadump.vmcore.check import CheckReport, Weight, check_dump
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


@dataclass(frozen=True, slots=True)
class TakenOut:
    """What a system has written: its dumps, the newest first, for each other file why it is no dump, and for each
    volume that could not be looked into why."""

    dumps: Sequence[FoundDump]
    others: Sequence[str]
    unread: Sequence[str]


def check_images(images: Sequence[Path]) -> None:
    """Refuse images that can't be looked into afterwards, as far as that can be told before their system has run.

    :raises SetupError: with the reason.
    """
    if all(image_format(image, writable=False) is DiskFormat.RAW for image in images):
        with ExitStack() as ends:
            check_readable([ends.enter_context(image.open("rb")).fileno() for image in images], scratch_place())


def take_out(drives: Sequence[Drive], directory: str, since_seconds: float, target: Path) -> TakenOut:
    """Copy ``directory`` out of the drives to ``target``, and look at the files in it that were written since then.

    ``since_seconds`` counts from 1970, by the system's clock. The copies of the drives have no names.

    :raises SetupError: a drive can't be looked into here.
    """
    dumps: list[FoundDump] = []
    others: list[str] = []
    unread: list[str] = []
    with ExitStack() as ends:
        disks = [ends.enter_context(_copied(drive, target)) for drive in drives]
        for number, system in enumerate(file_systems(disks, target)):
            try:
                if isinstance(system, UnreadableError):
                    raise system
                place = target / f"crash{number}"
                for inside in _places(directory):
                    if copy_directory(system, inside, place):
                        _sort(place, directory, since_seconds, dumps, others)
                        break
            except UnreadableError as error:
                unread.append(str(error))
    return TakenOut(sorted(dumps, key=lambda dump: dump.copy.stat().st_mtime, reverse=True), others, unread)


def judge(found: FoundDump, verifier: Verifier | None = None, preserved: PreservedDump | None = None) -> Judged:
    """Check a dump, and with a verifier compare all that it has with the machine at its crash, if it is whole.

    ``preserved`` is what the firmware has kept of that; None of a crash that it has not seen.

    :raises FormatError: it is damaged so that it can't be read.
    """
    with open_dump(found.copy) as dump:
        judged = Judged(found, check_dump(dump), None)
        if verifier is None or preserved is None or judged.damage:
            return judged
        return replace(judged, verdict=verifier.judge_saved(dump, preserved))


@contextmanager
def _copied(drive: Drive, directory: Path) -> Iterator[int]:
    """A raw copy of a drive, without a name."""
    require("looking into a disk image", {"qemu-img": "qemu-utils"})
    with unnamed_file(directory) as disk:
        command = ["qemu-img", "convert", "-f", drive.format, "-O", "raw", drive.file, name_of(disk)]
        with Progress.step("Copying the system's disk"):
            run(
                ["setpriv", "--pdeathsig", "KILL", "--", *command],
                what="copying the system's disk",
                log=log_path("rehearse"),
                pass_fds=[disk] if drive.fd is None else [disk, drive.fd],
            )
        yield disk


def _places(directory: str) -> Iterator[str]:
    """Where a directory may be in a file system that is mounted somewhere on the way to it: ``/var/crash`` is
    ``/crash`` of what is mounted at ``/var``."""
    parts = Path(directory).parts[1:]
    for first in range(len(parts)):
        yield "/" + "/".join(parts[first:])


def _sort(place: Path, directory: str, since_seconds: float, dumps: list[FoundDump], others: list[str]) -> None:
    for path in sorted(place.rglob("*"))[:_MOST_FILES]:
        if path.is_symlink() or not path.is_file() or path.stat().st_mtime < since_seconds:
            continue
        inside = f"{directory.rstrip('/')}/{path.relative_to(place)}"
        try:
            with open_dump(path):
                dumps.append(FoundDump(inside, path, path.stat().st_size))
        except FadumpError as error:
            others.append(f"{inside}: {str(error).removeprefix(f'{path}: ')}")
