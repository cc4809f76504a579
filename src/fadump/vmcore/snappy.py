"""Snappy's raw format, as makedumpfile -p writes it: by the Python package cramjam, or by Snappy's own library.

PyPI has cramjam for most computers, Debian before 14 hasn't; it has the library, as C functions (snappy-c.h).
"""

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

from fadump.errors import SetupError

_LIBRARY = "libsnappy.so.1"
_LIBRARY_PACKAGE = "libsnappy1v5"


class SnappyError(Exception):
    """Bytes that Snappy's library didn't write; the message is its status."""


@dataclass(frozen=True, slots=True)
class Snappy:
    """Who packs and unpacks with Snappy on this computer; any thread may call any of its functions."""

    name: str
    compress: Callable[[bytes | memoryview], Any]
    """Bytes in, something that is bytes to whoever writes it out."""
    unpacked_bytes: Callable[[bytes], int]
    """How many bytes packed ones say that they were, up to 4 GiB; nothing is unpacked."""
    decompress: Callable[[bytes], Any]
    error: type[Exception]
    """What both raise where the bytes are damaged."""


@cache
def find_snappy() -> Snappy:
    """What this computer has for Snappy.

    :raises SetupError: it has nothing.
    """
    try:
        return _by_package()
    except ImportError:
        return _by_library()


def _by_package() -> Snappy:
    import cramjam  # noqa: PLC0415 - an optional package

    packer = cramjam.snappy
    return Snappy(
        "cramjam", packer.compress_raw, packer.decompress_raw_len, packer.decompress_raw, cramjam.DecompressionError
    )


def _by_library() -> Snappy:
    library = _open(ctypes.CDLL)
    size = ctypes.c_size_t
    library.snappy_max_compressed_length.argtypes = [size]
    library.snappy_max_compressed_length.restype = size
    library.snappy_uncompressed_length.argtypes = [ctypes.c_char_p, size, ctypes.POINTER(size)]
    for function in (library.snappy_compress, library.snappy_uncompress):
        function.argtypes = [ctypes.c_char_p, size, ctypes.c_char_p, ctypes.POINTER(size)]

    def compress(data: bytes | memoryview) -> bytes:
        return _called(library.snappy_compress, bytes(data), library.snappy_max_compressed_length(len(data)))

    def unpacked_bytes(data: bytes) -> int:
        length = size()
        _raise_for(library.snappy_uncompressed_length(data, len(data), ctypes.byref(length)))
        return length.value

    def decompress(data: bytes) -> bytes:
        return _called(library.snappy_uncompress, data, unpacked_bytes(data))

    return Snappy(_LIBRARY, compress, unpacked_bytes, decompress, SnappyError)


def snappy_function(library: type[ctypes.CDLL]) -> Callable[..., int]:
    """snappy_compress() of Snappy's library: (input, its size, output, pointer to the room for it and then its size).

    It takes addresses. With PyDLL as ``library`` it keeps the interpreter's lock.

    :raises SetupError: this computer doesn't have the library.
    """
    function = _open(library).snappy_compress
    function.argtypes = [ctypes.c_void_p] * 4
    return cast("Callable[..., int]", function)


def _open(library: type[ctypes.CDLL]) -> ctypes.CDLL:
    try:
        return library(_LIBRARY)
    except OSError as error:
        raise SetupError(
            "pages packed with Snappy need the Python package cramjam, which isn't here: pip install cramjam, "
            f"or apt-get install {_LIBRARY_PACKAGE}"
        ) from error


def _called(function: Callable[..., int], data: bytes, most_bytes: int) -> bytes:
    """What a function of the library makes of ``data``, which is ``most_bytes`` bytes at most."""
    out = ctypes.create_string_buffer(most_bytes)
    length = ctypes.c_size_t(most_bytes)
    _raise_for(function(data, len(data), out, ctypes.byref(length)))
    return out.raw[: length.value]


def _raise_for(status: int) -> None:
    if status:
        raise SnappyError(f"error {status}")
