"""Opening dumps that are in memory only, and reading all of one."""

import os
from itertools import islice

from fadump.errors import FormatError
from fadump.memory.ranges import Range
from fadump.vmcore.contract import READABLE, Dump, NotInDumpError, Piece
from fadump.vmcore.dump import open_source
from fadump.vmcore.source import FileSource


class BytesSource(FileSource):
    """Bytes as an anonymous file, closed when nobody uses it any more: properties open thousands."""

    def __init__(self, data):
        fd = os.memfd_create("dump")
        os.write(fd, data)
        super().__init__(fd)

    def __del__(self):
        self.close()


def open_bytes(*files):
    """A dump whose files have these bytes."""
    return open_source([BytesSource(data) for data in files])


def pieces(dump: Dump, start=None, end=None) -> list[Piece]:
    """The mapping of a dump from one address up to another, checked to be gapless; all of its memory if not said."""
    if start is None:
        return [piece for part in dump.memory for piece in pieces(dump, part.start, part.end)]
    found = list(dump.mapping(Range(start, end)))
    at = start
    for piece in found:
        assert piece.range.start == at and piece.range
        at = piece.range.end
    assert at == end
    return found


def read_all(dump: Dump, most_bytes=1 << 16, most_pieces=500) -> int:
    """Read the start of each of the first pieces, as the mapping promises it can be; how many were damaged."""
    damaged = 0
    every_piece = (piece for part in dump.memory for piece in dump.mapping(part))
    for piece in islice(every_piece, most_pieces):
        size_bytes = min(piece.range.size_bytes, most_bytes)
        try:
            data = dump.read_physical(piece.range.start, size_bytes)
            assert piece.state in READABLE and len(data) == size_bytes
        except NotInDumpError as error:
            assert error.state is piece.state and error.at == piece.range.start
        except FormatError:
            assert piece.state in READABLE
            damaged += 1
    return damaged
