"""Packing pages, many at a time: each codec as makedumpfile uses it, at its fastest level.

Step "saved" of docs/architecture.md; :mod:`fadump.vmcore.codecs` unpacks. All codecs let go of the interpreter's lock
while they work, so threads pack at the same time. zlib streams come from ISA-L where Python has it: three times as
fast as zlib at the same size, and any zlib unpacks them. A packer belongs to one thread.
"""

import ctypes
import zlib
from collections.abc import Callable, Sequence
from enum import StrEnum
from functools import partial
from typing import Any

import cramjam
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

Packed = bytes | memoryview
Pack = Callable[[Sequence[memoryview]], Sequence[Any]]
"""Packs each of some pages; the results are bytes or what can be joined with bytes."""

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
            return partial(_pack_zlib, _fast_zlib.compress)
        case Compression.ZSTD:
            return _zstd_packer()
        case Compression.LZO:
            return _lzo_packer()
        case Compression.SNAPPY:
            return partial(_pack_each, cramjam.snappy.compress_raw)
        case Compression.NONE:
            return list


_FLAGS = {
    Compression.ZLIB: PageFlag.ZLIB,
    Compression.ZSTD: PageFlag.ZSTD,
    Compression.LZO: PageFlag.LZO,
    Compression.SNAPPY: PageFlag.SNAPPY,
    Compression.NONE: PageFlag(0),
}


def _pack_zlib(compress: Callable[..., bytes], pages: Sequence[memoryview]) -> list[bytes]:
    return [compress(page, _FASTEST) for page in pages]


def _pack_each(compress: Callable[..., Any], pages: Sequence[memoryview]) -> list[Any]:
    return [compress(page) for page in pages]


def _zstd_packer() -> Pack:
    return partial(_pack_each, zstandard.ZstdCompressor(level=_FASTEST).compress)


def _lzo_packer() -> Pack:
    compress = lzo_function("lzo1x_1_compress")
    work = ctypes.create_string_buffer(_LZO_WORK_BYTES)

    def pack(pages: Sequence[memoryview]) -> list[bytes]:
        packed = []
        for page in pages:
            out = ctypes.create_string_buffer(len(page) + len(page) // 16 + 67)
            length = ctypes.c_size_t(len(out))
            compress(bytes(page), len(page), out, ctypes.byref(length), work)
            packed.append(out.raw[: length.value])
        return packed

    return pack
