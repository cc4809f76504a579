"""Packing pages, many at a time: each codec as makedumpfile uses it, at its fastest level.

Step "saved" of docs/architecture.md; :mod:`fadump.vmcore.codecs` unpacks. All codecs release the interpreter's lock
while they work, so threads pack at the same time. zlib streams come from ISA-L where Python has it: three times as
fast as zlib at the same size, and any zlib unpacks them. A packer belongs to one thread.
"""

import ctypes
import zlib
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import zstandard

from fadump.vmcore.codecs import PageFlag, lzo_function
from fadump.vmcore.snappy import find_snappy

try:
    from isal import isal_zlib
except ImportError:  # there is none but for x86_64 and aarch64
    _fast_zlib: Any = zlib
else:
    _fast_zlib = isal_zlib

_FASTEST = 1
_LZO_WORK_BYTES = 16384 * ctypes.sizeof(ctypes.c_void_p)

Numbers = npt.NDArray[np.int64]
PackPage = Callable[[bytes | memoryview], Any]
"""Packs one page: bytes in, bytes out."""

Pack = Callable[[memoryview, Numbers, int], list[Any]]
"""Packs pages, given bytes, where the pages begin in them, and a page's size; the results can be joined to bytes."""

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
            pack = _lzo_packer()
            return lambda page: pack(memoryview(page), np.zeros(1, np.int64), len(page))[0]
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


def pack_each(pack: PackPage, data: memoryview, starts: Numbers, page_bytes: int) -> list[Any]:
    """Pack many pages, one call for each; with ``pack`` bound, this is a :data:`Pack`."""
    return [pack(data[start : start + page_bytes]) for start in starts.tolist()]


def _zstd_packer() -> Pack:
    compressor = zstandard.ZstdCompressor(level=_FASTEST)

    def pack(data: memoryview, starts: Numbers, page_bytes: int) -> list[Any]:
        """Pack many pages in one call; the frames are the same."""
        if not len(starts):
            return []
        segments = np.column_stack([starts, np.full(len(starts), page_bytes)]).astype(np.uint64)
        pages = zstandard.BufferWithSegments(data, segments.tobytes())
        together: Any = compressor.multi_compress_to_buffer(pages, threads=1)
        return list(together)

    return pack


def _lzo_packer() -> Pack:
    compress = lzo_function("lzo1x_1_compress")
    work = ctypes.create_string_buffer(_LZO_WORK_BYTES)
    length = ctypes.c_size_t()

    def pack(data: memoryview, starts: Numbers, page_bytes: int) -> list[Any]:
        """Pack many pages end to end: by addresses, as copying a page takes a quarter as long as packing it."""
        most_bytes = page_bytes + page_bytes // 16 + 67
        out = np.empty((len(starts) + 1) * most_bytes, np.uint8)
        work_at, length_at = ctypes.addressof(work), ctypes.addressof(length)
        out_at = out.ctypes.data
        ends = [0]
        for page_at in (starts + np.frombuffer(data, np.uint8).ctypes.data).tolist():
            compress(page_at, page_bytes, out_at + ends[-1], length_at, work_at)
            ends.append(ends[-1] + length.value)
        return [out.data[start:end] for start, end in pairwise(ends)]

    return pack
