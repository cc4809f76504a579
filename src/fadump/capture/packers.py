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
    if compression is Compression.ZSTD and "multi_compress_to_buffer" in zstandard.backend_features:
        return _zstd_packer()
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
            return _lzo_packer()
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


def _lzo_packer() -> PackPage:
    compress = lzo_function("lzo1x_1_compress")
    work = ctypes.create_string_buffer(_LZO_WORK_BYTES)

    def pack(page: bytes | memoryview) -> bytes:
        out = ctypes.create_string_buffer(len(page) + len(page) // 16 + 67)
        length = ctypes.c_size_t(len(out))
        compress(bytes(page), len(page), out, ctypes.byref(length), work)
        return out.raw[: length.value]

    return pack
