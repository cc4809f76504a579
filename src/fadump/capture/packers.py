"""Packing pages, many at a time: each codec as makedumpfile uses it, at its fastest level.

Step "saved" of docs/architecture.md; :mod:`fadump.vmcore.codecs` unpacks. All codecs let go of the interpreter's lock
while they work, so threads pack at the same time. zlib streams come from ISA-L where Python has it: three times as
fast as zlib at the same size, and any zlib unpacks them. A packer belongs to one thread.
"""

import ctypes
import zlib
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from typing import Any

import cramjam
import numpy as np
import numpy.typing as npt
import zstandard

from fadump.vmcore.codecs import PageFlag, lzo_function

try:
    from isal import isal_zlib
except ImportError:  # it exists for x86_64 and aarch64
    _fast_zlib: Any = zlib
else:
    _fast_zlib = isal_zlib

_FASTEST = 1
_LZO_WORK_BYTES = 16384 * ctypes.sizeof(ctypes.c_void_p)

Numbers = npt.NDArray[np.int64]
Pack = Callable[[memoryview, Numbers, int], list[Any]]
"""Packs pages of a size out of some bytes, where they begin there is said; the results can be joined to bytes."""

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
        """What descriptors and headers say of it."""
        return _FLAGS[self]


def make_packer(compression: Compression) -> Pack:
    """A packer for one thread.

    :raises SetupError: LZO, and the host doesn't have its library.
    """
    match compression:
        case Compression.ZLIB:
            return _pack_zlib
        case Compression.ZSTD:
            return _zstd_packer()
        case Compression.LZO:
            return _lzo_packer()
        case Compression.SNAPPY:
            return partial(_pack_each, cramjam.snappy.compress_raw)
        case Compression.NONE:
            return _pack_nothing


_FLAGS = {
    Compression.ZLIB: PageFlag.ZLIB,
    Compression.ZSTD: PageFlag.ZSTD,
    Compression.LZO: PageFlag.LZO,
    Compression.SNAPPY: PageFlag.SNAPPY,
    Compression.NONE: PageFlag(0),
}


def pack_page(compression: Compression, page: bytes) -> bytes:
    """One page, packed."""
    (packed,) = make_packer(compression)(memoryview(page), np.zeros(1, np.int64), len(page))
    return bytes(packed)


def _pack_nothing(data: memoryview, starts: Numbers, page_bytes: int) -> list[memoryview]:
    return [data[start : start + page_bytes] for start in starts.tolist()]


def _pack_zlib(data: memoryview, starts: Numbers, page_bytes: int) -> list[bytes]:
    compress = _fast_zlib.compress
    return [compress(data[start : start + page_bytes], _FASTEST) for start in starts.tolist()]


def _pack_each(compress: Callable[..., Any], data: memoryview, starts: Numbers, page_bytes: int) -> list[Any]:
    return [compress(data[start : start + page_bytes]) for start in starts.tolist()]


def _zstd_packer() -> Pack:
    compressor = zstandard.ZstdCompressor(level=_FASTEST)
    if not hasattr(compressor, "multi_compress_to_buffer"):  # the backend for PyPy
        return partial(_pack_each, compressor.compress)

    def pack(data: memoryview, starts: Numbers, page_bytes: int) -> list[Any]:
        """The same frames, without a step of the interpreter for each page."""
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

    def pack(data: memoryview, starts: Numbers, page_bytes: int) -> list[bytes]:
        out = ctypes.create_string_buffer(page_bytes + page_bytes // 16 + 67)
        length = ctypes.c_size_t()
        packed = []
        for start in starts.tolist():
            length.value = len(out)
            compress(bytes(data[start : start + page_bytes]), page_bytes, out, ctypes.byref(length), work)
            packed.append(out.raw[: length.value])
        return packed

    return pack
