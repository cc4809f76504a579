"""Saving a dump: select pages, pack them, write them durably, say what came of it.

Step "saved" of docs/architecture.md. The first file to read of this package: :func:`save_dump` is the whole of it.
"""

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from fadump.capture.about import describe
from fadump.capture.dmesg import dmesg_name, save_dmesg
from fadump.capture.files import HOST, Files
from fadump.capture.job import Job, SaveOptions, Tell
from fadump.capture.report import PageReport, report_pages
from fadump.capture.selection import know_pages, select_pages
from fadump.capture.target import FileTarget, SaveError, StreamTarget, incomplete_name
from fadump.errors import SetupError
from fadump.linux.pages import DumpLevel
from fadump.vmcore.core import Dump


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
    _refuse_to_replace(paths, options)
    known = know_pages(dump)
    about = describe(dump)
    remarks: list[str] = []
    with ExitStack() as opened:
        targets = [_open(path, files, options, opened) for path in paths]
        with _says_what_is_left(targets):
            if options.continued:
                for target in targets:
                    target.settle()
            missing_log = save_dmesg(dump, dmesg_name(destination), files)
            remarks += [missing_log] if missing_log else []
            keep = options.continued
            for level in options.levels:
                job = Job(dump, about, select_pages(dump, known, level), options, tell)
                if keep and not job.matches(targets):
                    continue
                try:
                    written = job.write(targets, keep=keep)
                    break
                except OSError as error:
                    if error.errno != errno.ENOSPC or level == options.levels[-1]:
                        raise
                    remarks.append(f"there was no room for level {int(level)}")
                    keep = False
            else:
                raise SetupError(
                    f"{targets[0].incomplete} is not of this dump, or was saved with other options: "
                    "give those, or remove it"
                )
            for target in targets:
                target.publish()
    return Saved(
        files=paths,
        size_bytes=written.size_bytes,
        dmesg=dmesg_name(destination),
        level=job.selection.level,
        pages=report_pages(job.selection, written.zeros),
        complete=job.source_is_complete,
        kept_bytes=written.kept_bytes,
        remarks=(*remarks, *job.remarks),
    )


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
    except OSError as error:
        raise SaveError(f"can't write the stream, which says that it broke off: {_why(error)}") from error
    return Saved(
        files=(),
        size_bytes=written.size_bytes,
        dmesg=None,
        level=job.selection.level,
        pages=report_pages(job.selection, written.zeros),
        complete=job.source_is_complete,
        kept_bytes=0,
        remarks=job.remarks,
    )


def file_names(destination: Path, split: int) -> list[Path]:
    """What the files of a dump are called."""
    if split == 1:
        return [destination]
    return [destination.with_name(f"{destination.name}.{number}") for number in range(1, split + 1)]


def _open(path: Path, files: Files, options: SaveOptions, opened: ExitStack) -> FileTarget:
    target = FileTarget(path, files, continued=options.continued)
    opened.callback(target.close)
    return target


def _refuse_to_replace(paths: Sequence[Path], options: SaveOptions) -> None:
    for path in paths:
        if os.path.lexists(path):
            raise SetupError(f"{path} is there already: remove it, or name another file")
        if not options.continued and os.path.lexists(incomplete_name(path)):
            raise SetupError(
                f"{incomplete_name(path)} is there from a save that was interrupted: "
                "go on with --continue, or remove it"
            )


@contextmanager
def _says_what_is_left(targets: Sequence[FileTarget]) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        left = ", ".join(str(target.incomplete) for target in targets)
        raise SaveError(
            f"can't save to {targets[0].path}: {_why(error)}; {left} has the pages so far and says that it is "
            "incomplete: make room and go on with --continue, or remove it"
        ) from error


def _why(error: OSError) -> str:
    return error.strerror or str(error)
