"""How a kdump-compressed page is packed, and unpacking it.

Which library packed a page is in its descriptor's flags (makedumpfile, diskdump_mod.h, DUMP_DH_COMPRESSED_*).
Data that doesn't unpack to exactly one page is an error; it never takes more memory than that, whatever it claims.
"""

import ctypes
import threading
import zlib
from collections.abc import Callable
from contextlib import suppress
from enum import IntFlag
from functools import cache, partial
from types import ModuleType
from typing import cast

import zstandard

from fadump.errors import FormatError, SetupError
from fadump.vmcore.snappy import find_snappy

_inflate: ModuleType = zlib
_inflate_error: type[Exception] = zlib.error
with suppress(ImportError):  # faster, but not available for every processor
    from isal import isal_zlib

    _inflate, _inflate_error = isal_zlib, cast("type[Exception]", isal_zlib.error)


class PageFlag(IntFlag):
    """How a page is packed; no flag: it isn't."""

    ZLIB = 0x01
    LZO = 0x02
    SNAPPY = 0x04
    ZSTD = 0x20


PACKED = int(PageFlag.ZLIB | PageFlag.LZO | PageFlag.SNAPPY | PageFlag.ZSTD)

_LZO_LIBRARY = "liblzo2.so.2"
_LZO_PACKAGE = "liblzo2-2"


class _NotAPageError(Exception):
    """Bytes that don't unpack to one page; the message says what is wrong."""


def unpack_page(data: bytes, flags: int, page_bytes: int, offset: int) -> bytes:
    """Unpack one page of ``page_bytes`` bytes from ``data``, which is at ``offset`` in its file.

    :raises FormatError: it doesn't unpack to one page, or it is packed in an unknown way.
    :raises SetupError: it is packed with LZO or Snappy and the host doesn't have that library.
    """
    packed = flags & PACKED
    unpack = _UNPACK.get(packed)
    if unpack is None:
        raise FormatError("page packed in an unknown way", offset=offset, expected=[*map(int, _UNPACK)], found=packed)
    try:
        page = unpack(data, page_bytes)
    except _NotAPageError as error:
        name = PageFlag(packed).name
        raise FormatError(f"page doesn't unpack with {name}: {error}", offset=offset) from error
    if len(page) != page_bytes:
        raise FormatError("page of wrong size", offset=offset, expected=page_bytes, found=len(page))
    return page


def _unpack_nothing(data: bytes, _page_bytes: int) -> bytes:
    return data


def _unpack_zlib(data: bytes, page_bytes: int) -> bytes:
    stream = _inflate.decompressobj()
    try:
        page: bytes = stream.decompress(data, page_bytes + 1)
    except _inflate_error as error:
        raise _NotAPageError(error) from error
    if len(page) <= page_bytes and not stream.eof:
        raise _NotAPageError("its end is missing")
    return page


def _unpack_lzo(data: bytes, page_bytes: int) -> bytes:
    buffer = _LZO.buffer(page_bytes)
    buffer.length.value = page_bytes
    status = lzo_function("lzo1x_decompress_safe")(data, len(data), buffer.page, buffer.length_pointer, None)
    if status:
        raise _NotAPageError(f"error {status}")
    return buffer.view[: buffer.length.value].tobytes()


class _LzoBuffer:
    """The buffer for an unpacked page; it is reused, as making one takes longer than unpacking a page."""

    def __init__(self, page_bytes: int) -> None:
        self.page = ctypes.create_string_buffer(page_bytes)
        self.view = memoryview(self.page)
        self.length = ctypes.c_size_t()
        self.length_pointer = ctypes.byref(self.length)


class _ThreadsLzo(threading.local):
    """Each thread's own buffer, for pages of the size that it unpacked last."""

    def __init__(self) -> None:
        self._buffer = _LzoBuffer(0)

    def buffer(self, page_bytes: int) -> _LzoBuffer:
        if len(self._buffer.page) != page_bytes:
            self._buffer = _LzoBuffer(page_bytes)
        return self._buffer


_LZO = _ThreadsLzo()


@cache
def lzo_function(name: str, library: type[ctypes.CDLL] = ctypes.CDLL) -> Callable[..., int]:
    """A function of LZO's library: (input, its size, output, pointer to its size, work memory) -> 0, or an error.

    With PyDLL as ``library`` it keeps the interpreter's lock.

    :raises SetupError: the host doesn't have that library.
    """
    try:
        function = library(_LZO_LIBRARY)[name]
    except OSError as error:
        raise SetupError(
            f"pages packed with LZO need {_LZO_LIBRARY}, which isn't here: apt-get install {_LZO_PACKAGE}"
        ) from error
    # bytes, buffers and addresses; and the size, as ctypes takes a pointer's number in half the time of a c_size_t
    function.argtypes = [ctypes.c_void_p] * 5
    function.restype = ctypes.c_int
    return function


def _unpack_snappy(data: bytes, page_bytes: int) -> bytes:
    snappy = find_snappy()
    try:
        # The data begins with its unpacked size, up to 4 GiB, which is checked before memory is allocated.
        claimed = snappy.unpacked_bytes(data)
        if claimed != page_bytes:
            raise _NotAPageError(f"they would be {claimed:#x} bytes")
        return bytes(snappy.decompress(data))
    except snappy.error as error:
        raise _NotAPageError(error) from error


def _unpack_zstd(data: bytes, page_bytes: int) -> bytes:
    try:
        claimed = zstandard.frame_content_size(data)  # -1: unknown
        if claimed not in (-1, page_bytes):
            raise _NotAPageError(f"they would be {claimed:#x} bytes")
        return _ZSTD.decompressor.decompress(data, max_output_size=page_bytes)
    except zstandard.ZstdError as error:
        raise _NotAPageError(error) from error


class _ThreadsZstd(threading.local):
    """Each thread's own decompressor: making one takes longer than unpacking a page, and none is thread-safe."""

    def __init__(self) -> None:
        self.decompressor = zstandard.ZstdDecompressor()


_ZSTD = _ThreadsZstd()


def codec_libraries() -> dict[str, str | None]:
    """What this computer packs and unpacks with, by codec; None: nothing that it has."""
    return {
        "zlib": _inflate.__name__.partition(".")[0],
        "lzo": _LZO_LIBRARY if _has(partial(lzo_function, "lzo1x_decompress_safe")) else None,
        "snappy": find_snappy().name if _has(find_snappy) else None,
        "zstd": zstandard.__name__,
    }


def _has(find: Callable[[], object]) -> bool:
    try:
        find()
    except SetupError:
        return False
    return True


_UNPACK: dict[int, Callable[[bytes, int], bytes]] = {
    0: _unpack_nothing,
    int(PageFlag.ZLIB): _unpack_zlib,
    int(PageFlag.LZO): _unpack_lzo,
    int(PageFlag.SNAPPY): _unpack_snappy,
    int(PageFlag.ZSTD): _unpack_zstd,
}
