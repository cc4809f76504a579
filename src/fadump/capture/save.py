"""Saving a dump: select pages, pack them, write them durably, say what came of it.

Step "saved" of docs/architecture.md. The first file to read of this package: :func:`save_dump` is the whole of it.
"""

import errno
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fadump.capture.about import About, describe
from fadump.capture.batches import cut_batches
from fadump.capture.dmesg import dmesg_name, save_dmesg
from fadump.capture.files import HOST, Files
from fadump.capture.kdump_writer import KdumpWriter
from fadump.capture.packers import Compression
from fadump.capture.packing import Packing
from fadump.capture.report import PageReport, report_pages
from fadump.capture.selection import Selection, know_pages, select_pages
from fadump.capture.target import FileTarget, SaveError
from fadump.errors import SetupError
from fadump.linux.pages import DumpLevel
from fadump.memory.ranges import Range
from fadump.vmcore.core import Dump

Tell = Callable[[int, int], None]
"""Told how many bytes of memory are done, and how many there are."""


@dataclass(frozen=True, slots=True)
class SaveOptions:
    """How to save. Of ``levels`` the first is taken; the next one if the disk turns out to be too small."""

    levels: Sequence[DumpLevel] = (DumpLevel(0),)
    compression: Compression = Compression.ZLIB
    threads: int = 1


@dataclass(frozen=True, slots=True)
class Saved:
    """What has been saved: the files of the dump, and in how many bytes. ``remarks`` are sentences for the user.

    ``complete`` is False if the source wasn't: then the dump says so too.
    """

    files: Sequence[Path]
    size_bytes: int
    dmesg: Path | None
    level: DumpLevel
    pages: PageReport
    complete: bool
    remarks: Sequence[str]


def save_dump(
    dump: Dump, destination: Path, options: SaveOptions, *, files: Files = HOST, tell: Tell | None = None
) -> Saved:
    """Save ``dump`` as a kdump-compressed file, durably.

    Whatever happens, ``destination`` is only there once it is complete; until then there is ``destination.incomplete``,
    of which each page that can be read is right.

    :raises SetupError: the files can't be made, or are there already.
    :raises SaveError: the disk is full, or failed.
    :raises FadumpError: the dump can't be read, or there is nothing to save.
    :raises OSError: the dump can't be read.
    """
    _refuse_to_replace(destination)
    known = know_pages(dump)
    about = describe(dump)
    remarks: list[str] = []
    target = FileTarget(destination, files)
    try:
        missing_log = save_dmesg(dump, dmesg_name(destination), files)
        remarks += [missing_log] if missing_log else []
        for number, level in enumerate(options.levels):
            selection = select_pages(dump, known, level)
            job = _Job(dump, about, selection, options, target, tell)
            try:
                zeros, size_bytes = job.run()
                break
            except OSError as error:
                if error.errno != errno.ENOSPC or number + 1 == len(options.levels):
                    raise
                remarks.append(f"there was no room for level {level}: saved at level {options.levels[number + 1]}")
                target.truncate(0)
        target.publish()
    except OSError as error:
        raise SaveError(_what_is_left(target, error)) from error
    finally:
        target.close()
    return Saved(
        files=(destination,),
        size_bytes=size_bytes,
        dmesg=dmesg_name(destination),
        level=selection.level,
        pages=report_pages(selection, zeros),
        complete=not selection.missing.count() and not dump.faults,
        remarks=(*remarks, *selection.remarks),
    )


@dataclass(frozen=True, slots=True)
class _Job:
    """One try at one level."""

    dump: Dump
    about: About
    selection: Selection
    options: SaveOptions
    target: FileTarget
    tell: Tell | None

    def run(self) -> tuple[int, int]:
        """Write the whole file; how many pages were zeros, and how large the file is."""
        selection, page_bytes = self.selection, self.selection.page_bytes
        total = selection.wanted.count() * page_bytes
        writer = KdumpWriter(self.target, self.about, selection, self.options.compression)
        zeros = done = 0
        writer.begin()
        with Packing(self.dump, page_bytes, self.options.compression, self.options.threads) as packing:
            try:
                for batch in packing.packed(cut_batches(self.dump, selection, Range(0, selection.pages))):
                    writer.add(batch)
                    zeros += int(batch.zeros.sum())
                    done += len(batch.pages) * page_bytes
                    if self.tell is not None:
                        self.tell(done, total)
            except BaseException:
                with suppress(OSError):  # whatever ended it is what is told
                    writer.checkpoint()
                raise
        writer.finish(complete=not self.dump.faults and not selection.missing.count())
        return zeros, writer.size_bytes


def _refuse_to_replace(path: Path) -> None:
    if os.path.lexists(path):
        raise SetupError(f"{path} is there already: remove it, or name another file")


def _what_is_left(target: FileTarget, error: OSError) -> str:
    why = error.strerror or str(error)
    return (
        f"can't save to {target.path}: {why}; {target.incomplete} has the pages so far and says that it is incomplete: "
        "make room and go on with --continue, or remove it"
    )
