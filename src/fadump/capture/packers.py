"""Packing pages, many at a time: each codec as makedumpfile uses it, at its fastest level.

Step "saved" of docs/architecture.md; :mod:`fadump.vmcore.codecs` unpacks. Codecs release the interpreter's lock while
they work, so threads pack at the same time; LZO and Snappy with small pages don't. zlib streams come from ISA-L where
Python has it: three times as fast as zlib at the same size, and any zlib unpacks them. A packer belongs to one thread,
what it returns to the caller.
"""

import ctypes
import zlib
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import zstandard

from fadump.errors import SetupError
from fadump.vmcore.codecs import PageFlag, lzo_function
from fadump.vmcore.contract import Bytes
from fadump.vmcore.snappy import find_snappy, snappy_function

try:
    from isal import isal_zlib
except ImportError:  # there is none but for x86_64 and aarch64
    _fast_zlib: Any = zlib
else:
    _fast_zlib = isal_zlib

_FASTEST = 1
_LZO_WORK_BYTES = 16384 * ctypes.sizeof(ctypes.c_void_p)
_SMALL_PAGE_BYTES = 1 << 12
"""Up to here, a page takes LZO and Snappy no longer than threads take to hand over the interpreter's lock: it is kept.
"""
_LEAST_GROWTH, _MORE_BYTES = 6, 67
"""What gets no smaller may get larger: with Snappy by a sixth and 32 bytes, with LZO by a sixteenth and 67."""

Numbers = npt.NDArray[np.int64]
Sizes = npt.NDArray[np.uint32]
PackPage = Callable[[bytes | memoryview], Any]
"""Packs one page: bytes in, bytes out."""


class PackedPages(NamedTuple):
    """Pages end to end, and how many bytes each has; one that gets no smaller is there as it is."""

    data: bytes | memoryview
    sizes: Sizes


Pack = Callable[[Bytes, Numbers, int], PackedPages]
"""Packs pages, given bytes, where the pages begin in them, and a page's size."""

crc32: Callable[..., int] = _fast_zlib.crc32
"""zlib's CRC-32."""


class Compression(StrEnum):
    """How pages are packed."""

    ZLIB = "zlib"
    ZSTD = "zstd"
    LZO = "lzo"
    SNAPPY = "snappy"
    NONE = "none"

    @property
    def flag(self) -> PageFlag:
        """The flag of a page's descriptor and of the headers."""
        return _FLAGS[self]


def make_packer(compression: Compression) -> Pack:
    """A packer of many pages, for one thread.

    :raises SetupError: LZO or Snappy, and the host doesn't have its library.
    """
    match compression:
        case Compression.ZSTD if "multi_compress_to_buffer" in zstandard.backend_features:
            return _zstd_packer()
        case Compression.LZO:
            return _lzo_packer()
        case Compression.SNAPPY:
            return _snappy_packer()
        case Compression.NONE:
            return _pack_nothing
        case _:
            return partial(pack_each, make_page_packer(compression))


def make_page_packer(compression: Compression) -> PackPage:
    """A packer of one page, for one thread.

    :raises SetupError: LZO or Snappy, and the host doesn't have its library.
    """
    match compression:
        case Compression.ZLIB:
            return partial(_fast_zlib.compress, level=_FASTEST)
        case Compression.ZSTD:
            return zstandard.ZstdCompressor(level=_FASTEST).compress
        case Compression.LZO:
            pack = make_packer(compression)
            return lambda page: pack(np.frombuffer(page, np.uint8), np.zeros(1, np.int64), len(page)).data
        case Compression.SNAPPY:
            return find_snappy().compress
        case Compression.NONE:
            return lambda page: page


_FLAGS = {
    Compression.ZLIB: PageFlag.ZLIB,
    Compression.ZSTD: PageFlag.ZSTD,
    Compression.LZO: PageFlag.LZO,
    Compression.SNAPPY: PageFlag.SNAPPY,
    Compression.NONE: PageFlag(0),
}


def pack_page(compression: Compression, page: bytes) -> bytes:
    """One page, packed."""
    return bytes(make_page_packer(compression)(page))


def pack_each(pack: PackPage, data: Bytes, starts: Numbers, page_bytes: int) -> PackedPages:
    """Pack many pages, one call for each; with ``pack`` bound, this is a :data:`Pack`."""
    view = data.data
    packed = [pack(view[start : start + page_bytes]) for start in starts.tolist()]
    return _joined(packed, data, starts, page_bytes)


def _joined(packed: list[Any], data: Bytes, starts: Numbers, page_bytes: int) -> PackedPages:
    sizes = np.fromiter(map(len, packed), np.uint32, len(packed))
    for number in np.flatnonzero(sizes >= page_bytes).tolist():
        start = int(starts[number])
        packed[number] = data.data[start : start + page_bytes]
    return PackedPages(b"".join(packed), np.minimum(sizes, np.uint32(page_bytes)))


def _pack_nothing(data: Bytes, starts: Numbers, page_bytes: int) -> PackedPages:
    pages = data.reshape(-1, page_bytes)[starts // page_bytes]
    return PackedPages(pages.reshape(-1).data, np.full(len(starts), page_bytes, np.uint32))


def _zstd_packer() -> Pack:
    compressor = zstandard.ZstdCompressor(level=_FASTEST)

    def pack(data: Bytes, starts: Numbers, page_bytes: int) -> PackedPages:
        """Pack many pages in one call; the frames are the same."""
        if not len(starts):
            return _joined([], data, starts, page_bytes)
        segments = np.column_stack([starts, np.full(len(starts), page_bytes)]).astype(np.uint64)
        pages = zstandard.BufferWithSegments(data.data, segments.tobytes())
        together: Any = compressor.multi_compress_to_buffer(pages, threads=1)
        return _joined(list(together), data, starts, page_bytes)

    return pack


def _lzo_packer() -> Pack:
    work = ctypes.create_string_buffer(_LZO_WORK_BYTES)
    return _packer_by_address(partial(lzo_function, "lzo1x_1_compress"), work)


def _snappy_packer() -> Pack:
    try:
        return _packer_by_address(snappy_function)
    except SetupError:  # the package may be here, which takes an object for each page
        return partial(pack_each, make_page_packer(Compression.SNAPPY))


def _packer_by_address(
    find: Callable[[type[ctypes.CDLL]], Callable[..., int]], *more: ctypes.Array[ctypes.c_char]
) -> Pack:
    """A packer with a C function: (page, its size, output, pointer to the room for it and then its size, ``more``)."""
    keeping_lock, releasing_lock = find(ctypes.PyDLL), find(ctypes.CDLL)
    size = ctypes.c_size_t()
    room = np.empty(0, np.uint8)

    def pack(data: Bytes, starts: Numbers, page_bytes: int) -> PackedPages:
        """Pack many pages end to end, by addresses: copying a page takes a quarter as long as packing it."""
        nonlocal room
        compress = keeping_lock if page_bytes <= _SMALL_PAGE_BYTES else releasing_lock
        most_bytes = page_bytes + page_bytes // _LEAST_GROWTH + _MORE_BYTES
        if len(room) < len(starts) * page_bytes + most_bytes:
            room = np.empty(len(starts) * page_bytes + most_bytes, np.uint8)
        size_at, more_at = ctypes.addressof(size), tuple(map(ctypes.addressof, more))
        sizes: list[int] = []
        at = first = room.ctypes.data
        for page_at in (starts + data.ctypes.data).tolist():
            size.value = most_bytes
            compress(page_at, page_bytes, at, size_at, *more_at)
            packed_bytes = size.value
            if packed_bytes >= page_bytes:
                packed_bytes = page_bytes
                ctypes.memmove(at, page_at, page_bytes)
            sizes.append(packed_bytes)
            at += packed_bytes
        return PackedPages(room.data[: at - first].tobytes(), np.array(sizes, np.uint32))

    return pack
