"""Saving a dump: select pages, pack them, write them durably, say what came of it.

Step "saved" of docs/architecture.md. The first file to read of this package: :func:`save_dump` is the whole of it.
"""

import errno
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from fadump.capture.about import describe
from fadump.capture.dmesg import dmesg_name, save_dmesg
from fadump.capture.files import HOST, Files
from fadump.capture.job import Job, SaveOptions, Tell, Written
from fadump.capture.report import PageReport, report_pages
from fadump.capture.selection import know_pages, select_pages
from fadump.capture.target import FileTarget, SaveError, StreamTarget, incomplete_name, is_being_written
from fadump.errors import FadumpError, ReadError, SetupError, reason
from fadump.linux.pages import DumpLevel
from fadump.vmcore.contract import Dump

_MOST_NAMES = 4
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
_TOO_LARGE = _NO_ROOM | {errno.EFBIG}
"""What a smaller dump helps against: FAT has files of less than 4 GiB."""


@dataclass(frozen=True, slots=True)
class Saved:
    """What has been saved: the files of the dump (none: a stream), and in how many bytes. ``remarks`` are sentences
    for the user.

    ``complete`` is False if the source wasn't: then the dump says so too. ``kept_bytes`` of memory were there already.
    """

    files: Sequence[Path]
    size_bytes: int
    dmesg: Path | None
    level: DumpLevel
    pages: PageReport
    complete: bool
    kept_bytes: int
    remarks: Sequence[str]


def save_dump(
    dump: Dump, destination: Path, options: SaveOptions, *, files: Files = HOST, tell: Tell | None = None
) -> Saved:
    """Save ``dump`` durably, as one file or, split, as ``destination.1`` and so on.

    Whatever happens, ``destination`` is only there once it is complete; until then there is ``destination.incomplete``,
    of which each page that can be read is right.

    :raises SetupError: the files can't be made, or are there already.
    :raises SaveError: the disk is full, or failed.
    :raises FadumpError: the dump can't be read, or there is nothing to save.
    :raises OSError: the dump can't be read.
    """
    paths = file_names(destination, options.split)
    refuse_to_replace(paths, options)
    known = know_pages(dump)
    about = describe(dump)
    jobs = (Job(dump, about, select_pages(dump, known, level), options, tell) for level in options.levels)
    with ExitStack() as opened:
        targets = [_open(path, files, options, opened) for path in paths]
        with _says_what_is_left(targets):
            job = _job_to_go_on_with(jobs, targets) if options.continued else next(jobs)
            missing_log = save_dmesg(dump, dmesg_name(destination), files)
            job, written, too_large = _write(job, jobs, targets, keep=options.continued)
        _publish(targets)
    remarks = [missing_log] if missing_log else []
    remarks += [f"there was no room for level {int(level)}" for level in too_large]
    return _saved(job, written, paths, dmesg_name(destination), remarks)


def stream_dump(dump: Dump, fd: int, options: SaveOptions, *, files: Files = HOST, tell: Tell | None = None) -> Saved:
    """Write ``dump`` as a flattened stream to an open descriptor, which stays the caller's. There is no log beside it.

    :raises SaveError: the stream can't be written: nobody reads it any more.
    :raises FadumpError: the dump can't be read, or there is nothing to save.
    :raises OSError: the dump can't be read.
    """
    job = Job(dump, describe(dump), select_pages(dump, know_pages(dump), options.levels[0]), options, tell)
    try:
        target = StreamTarget(fd, files)
        written = job.write([target], keep=False)
        target.publish()
    except ReadError:
        raise
    except OSError as error:
        raise SaveError(f"can't write the stream, which says that it broke off: {reason(error)}") from error
    return _saved(job, written, [], None, [])


def file_names(destination: Path, split: int) -> list[Path]:
    """What the files of a dump are to be called.

    :raises SetupError: ``destination`` is a directory.
    """
    if destination.is_dir():
        raise SetupError(f"{destination} is a directory: name a file in it")
    if split == 1:
        return [destination]
    return [destination.with_name(f"{destination.name}.{number}") for number in range(1, split + 1)]


def refuse_to_replace(paths: Sequence[Path], options: SaveOptions) -> None:
    """What is there already stays; but a set of which some files are incomplete is gone on with as a whole.

    :raises SetupError: something would be replaced, or there is nothing to go on with.
    """
    there = [path for path in paths if os.path.lexists(path)]
    begun = [path for path in paths if os.path.lexists(incomplete_name(path))]
    if begun and not options.continued:
        incomplete = incomplete_name(begun[0])
        if is_being_written(incomplete):
            raise SetupError(f"somebody else is writing {incomplete}: wait, or name another file")
        raise SetupError(f"{incomplete} is there from a save that was interrupted: go on with --continue, or remove it")
    twice = [path for path in there if path in begun]
    if twice or (there and not begun):
        raise SetupError(f"{(twice or there)[0]} is there already, and stays: name another file")
    if options.continued and not begun:
        raise SetupError(f"there is no {incomplete_name(paths[0])} to go on with: save without --continue")


def listed(paths: Sequence[Path]) -> str:
    """Names of files in a sentence; of many, the first ones."""
    more = [f"{len(paths) - _MOST_NAMES} more"] if len(paths) > _MOST_NAMES else []
    return ", ".join([*map(str, paths[:_MOST_NAMES]), *more])


def _job_to_go_on_with(jobs: Iterable[Job], targets: Sequence[FileTarget]) -> Job:
    for target in targets:
        target.settle()
    for job in jobs:
        if job.matches(targets):
            for target in targets:
                target.take_back()
            return job
    raise SetupError(
        f"{targets[0].incomplete} is not of this dump, or was saved with other options: give those, or remove it"
    )


def _write(
    job: Job, smaller: Iterator[Job], targets: Sequence[FileTarget], *, keep: bool
) -> tuple[Job, Written, list[DumpLevel]]:
    """Write a job, or if there is no room for it the first ``smaller`` one for which there is.

    That job, what came of it, and the levels for which there was no room.
    """
    too_large: list[DumpLevel] = []
    while True:
        try:
            return job, job.write(targets, keep=keep), too_large
        except OSError as error:
            following = next(smaller, None) if error.errno in _TOO_LARGE else None
            if following is None:
                raise
        too_large.append(job.selection.level)
        job, keep = following, False


def _saved(job: Job, written: Written, files: Sequence[Path], dmesg: Path | None, remarks: Sequence[str]) -> Saved:
    return Saved(
        files=files,
        size_bytes=written.size_bytes,
        dmesg=dmesg,
        level=job.selection.level,
        pages=report_pages(job.selection, written.zeros, job.unreadable.pages),
        complete=job.source_is_complete,
        kept_bytes=written.kept_bytes,
        remarks=(*remarks, *job.remarks),
    )


def _publish(targets: Sequence[FileTarget]) -> None:
    try:
        for target in targets:
            target.publish()
    except OSError as error:
        raise SaveError(
            f"{targets[0].path} is whole, but may still be called {targets[0].incomplete}: {reason(error)}; "
            "look which it is, and save it anew before the machine is switched off"
        ) from error


def _open(path: Path, files: Files, options: SaveOptions, opened: ExitStack) -> FileTarget:
    target = FileTarget(path, files, continued=options.continued)
    opened.callback(target.close)
    return target


@contextmanager
def _says_what_is_left(targets: Sequence[FileTarget]) -> Iterator[None]:
    try:
        yield
    except (OSError, FadumpError) as error:
        begun = [target.incomplete for target in targets if target.has_begun]
        so_far = (
            f"{listed(begun)} has the pages so far and says that it is incomplete" if begun else "nothing is written"
        )
        if not isinstance(error, FadumpError):
            what_next = _what_next(error, begun=bool(begun))
            raise SaveError(f"can't save to {targets[0].path}: {reason(error)}; {so_far}: {what_next}") from error
        if begun and not isinstance(error, SetupError):
            raise SaveError(f"{error}; {so_far}") from error
        raise


def _what_next(error: OSError, *, begun: bool) -> str:
    no_room = error.errno in _NO_ROOM
    if begun:
        return "make room and go on with --continue, or remove it" if no_room else "go on with --continue, or remove it"
    return "make room and try again" if no_room else "name a file elsewhere"
