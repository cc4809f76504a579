"""Saving a dump: select pages, pack them, write them durably, report the result.

Step "saved" of docs/architecture.md. The first file to read of this package: :func:`save_dump` is the whole of it.
"""

import errno
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from fadump.capture.destination import Destination, listed
from fadump.capture.dmesg import save_dmesg
from fadump.capture.files import HOST, Files
from fadump.capture.job import Job, Tell, Written
from fadump.capture.options import SaveOptions
from fadump.capture.original import Original, read_original
from fadump.capture.registers import AddedRegisters
from fadump.capture.report import PageReport, report_pages
from fadump.capture.target import FileTarget, SaveError, StreamTarget
from fadump.errors import NO_ROOM, FadumpError, ReadError, SetupError, reason
from fadump.linux.pages.page_class import DumpLevel
from fadump.linux.system import CrashedSystem

_TOO_LARGE = NO_ROOM | {errno.EFBIG}
"""Errors that a smaller dump may avoid: files on FAT are smaller than 4 GiB."""


Say = Callable[[str], None]
"""Is told a sentence for the user before anything is written."""


@dataclass(frozen=True, slots=True)
class Saved:
    """What has been saved: the files of the dump (none: a stream), and in how many bytes. ``remarks`` are sentences
    for the user, ``registers`` what was added to the dump. ``level`` counts what had been left out of the source, too.

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
    registers: AddedRegisters


def save_dump(
    system: CrashedSystem,
    destination: Destination,
    options: SaveOptions,
    *,
    files: Files = HOST,
    tell: Tell | None = None,
    say: Say | None = None,
) -> Saved:
    """Save a system's dump durably, as one file or as several.

    Whatever happens, a file has its name only once it is complete; until then its name ends in ``.incomplete``, and
    each page of it that can be read is right.

    :raises SetupError: the files can't be made, or are there already by now; or the host lacks a library.
    :raises SaveError: the disk is full, or failed.
    :raises DiskError: the disk was full, or failed, before there was any file.
    :raises FadumpError: the dump can't be read, or there is nothing to save.
    :raises OSError: the dump can't be read.
    """
    original = read_original(system, options)
    jobs = (Job(original, original.select(level), options, tell) for level in options.levels)
    with ExitStack() as opened:
        targets = [_open(path, files, options, opened) for path in destination.files]
        with _says_what_is_left(targets):
            job = _job_to_go_on_with(jobs, targets) if options.continued else next(jobs)
            _say_beforehand(job, say)
            log = _save_log(system, destination.dmesg, files)
            try:
                job, written, too_large = _write(job, jobs, targets, keep=options.continued)
            except BaseException:
                if log.path is not None and not any(target.has_begun for target in targets):
                    with suppress(OSError):  # a log without its dump would look as if there were one
                        files.unlink(log.path)
                raise
        _publish(targets)
    remarks = [*log.remarks, *(f"there was no room for level {int(level)}" for level in too_large)]
    return replace(_saved(original, job, written, destination, remarks), dmesg=log.path)


def stream_dump(
    system: CrashedSystem,
    fd: int,
    options: SaveOptions,
    *,
    files: Files = HOST,
    tell: Tell | None = None,
    say: Say | None = None,
) -> Saved:
    """Write a system's dump as a flattened stream to an open descriptor, which stays the caller's; not its log.

    :raises SaveError: the stream can't be written: nobody reads it any more.
    :raises FadumpError: the dump can't be read, or there is nothing to save.
    :raises OSError: the dump can't be read.
    """
    original = read_original(system, options)
    job = Job(original, original.select(options.levels[0]), options, tell)
    _say_beforehand(job, say)
    try:
        target = StreamTarget(fd, files)
        written = job.write([target], keep=False)
        target.publish()
    except ReadError:
        raise
    except OSError as error:
        raise SaveError(f"can't write the stream, which says that it broke off: {reason(error)}") from error
    return _saved(original, job, written, None, [])


def _say_beforehand(job: Job, say: Say | None) -> None:
    sentence = job.beforehand
    if say is not None and sentence is not None:
        say(sentence)


class _Log(NamedTuple):
    """Where the log is, if it could be written, and what is to be said of it."""

    path: Path | None
    remarks: tuple[str, ...]


def _save_log(system: CrashedSystem, path: Path, files: Files) -> _Log:
    """Save the log beside the dump. It is an extra: the dump has it too, and is saved without."""
    try:
        missing = save_dmesg(system, path, files)
    except OSError as error:
        return _Log(None, (f"the log isn't beside the dump: {path} can't be written: {reason(error)}",))
    return _Log(path, (missing,) if missing else ())


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

    Return that job, its result, and the levels for which there was no room.
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


def _saved(
    original: Original, job: Job, written: Written, destination: Destination | None, remarks: Sequence[str]
) -> Saved:
    return Saved(
        files=() if destination is None else destination.files,
        size_bytes=written.size_bytes,
        dmesg=None,
        level=job.selection.level | original.about.level_before,
        pages=report_pages(job.selection, written.zeros, job.unreadable.pages),
        complete=job.source_is_complete,
        kept_bytes=written.kept_bytes,
        remarks=(*remarks, *job.remarks),
        registers=original.added,
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
            why = reason(error)
            raise SaveError(f"can't save to {targets[0].path}: {why}; {so_far}: {what_next}", why) from error
        if begun and not isinstance(error, SetupError):
            raise SaveError(f"{error}; {so_far}") from error
        raise


def _what_next(error: OSError, *, begun: bool) -> str:
    no_room = error.errno in NO_ROOM
    if begun:
        return "make room and go on with --continue, or remove it" if no_room else "go on with --continue, or remove it"
    return "make room and try again" if no_room else "name a file elsewhere"
