"""Opening a dump file of any kind; kinds are recognized by the first bytes, never by the name.

Reading dumps needs only this module and the contract, :class:`~fadump.vmcore.contract.Dump`:

    with open_dump("vmcore") as dump:
        dump.read_physical(0x1000, 4096)
"""

import os
from collections.abc import Sequence

from fadump.abi.elf import ELFMAG
from fadump.errors import FormatError, UsageError, naming
from fadump.vmcore.contract import Dump, Kind, NotInDumpError, Piece, State
from fadump.vmcore.elf_dump import ElfDump
from fadump.vmcore.flattened import SIGNATURE as FLATTENED_SIGNATURE
from fadump.vmcore.flattened import FlattenedSource
from fadump.vmcore.foreign import MOST_MAGIC_BYTES, what_else
from fadump.vmcore.kdump import KdumpDump
from fadump.vmcore.kdump_header import SIGNATURE as KDUMP_SIGNATURE
from fadump.vmcore.source import FileSource, Source, StrPath, open_file

__all__ = ["Dump", "Kind", "NotInDumpError", "Piece", "State", "StrPath", "open_dump", "open_source"]

_SEVERAL = "several files, of which the first is an ELF core: only a kdump-compressed dump can be split"


def open_dump(paths: StrPath | Sequence[StrPath]) -> Dump:
    """Open a dump: an ELF core or kdump-compressed file, flattened or not, or the files of a split dump in any order.

    A file that is cut short or damaged opens if its headers can be read; :attr:`Dump.damage` says what is wrong.

    :raises FormatError: it is not a dump, or its headers make no sense; the files of a set don't belong together.
    :raises UsageError: no file is given.
    :raises FadumpError: it is a directory, a pipe or the like.
    :raises OSError: a file can't be opened or read.
    """
    names = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    sources: list[Source] = []
    try:
        for name in names:
            with naming(name):
                sources.append(_open_file(name))
        with naming(*names):
            return open_source(sources)
    except BaseException:
        for source in sources:
            source.close()
        raise


def open_source(sources: Sequence[Source]) -> Dump:
    """The same for open sources; the dump owns them from then on, unless this fails."""
    if not sources:
        raise UsageError("no file is given: a dump has at least one")
    unflattened = [FlattenedSource(source) if _magic(source) == FLATTENED_SIGNATURE else source for source in sources]
    streams = [source for source in unflattened if isinstance(source, FlattenedSource)]
    magic = _magic(unflattened[0])
    dump: Dump
    if magic.startswith(KDUMP_SIGNATURE):
        dump = KdumpDump(unflattened)
    elif not magic.startswith(ELFMAG):
        first = unflattened[0]
        raise FormatError(what_else(first.read(0, min(MOST_MAGIC_BYTES, first.size_bytes), "file")))
    elif len(sources) > 1:
        raise FormatError(_SEVERAL)
    else:
        dump = ElfDump(unflattened[0])
    dump.flattened = bool(streams)
    dump.damage = [found for stream in streams for found in stream.damage] + [*dump.damage]
    return dump


def _magic(source: Source) -> bytes:
    return source.read(0, min(len(FLATTENED_SIGNATURE), source.size_bytes), "file")


def _open_file(path: StrPath) -> Source:
    fd = open_file(path)
    try:
        return FileSource(fd, os.fspath(path))
    except BaseException:
        os.close(fd)
        raise
