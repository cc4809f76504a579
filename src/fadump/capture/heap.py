"""Keeping the memory of one batch for the next.

Step "saved" of docs/architecture.md. The C library gives large pieces back to Linux as soon as they are freed, and
Linux fills each page with zeros when it is touched again. For packed pages that takes longer than writing them.
"""

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""See mallopt(3)."""
_KEPT_BYTES = 32 << 20
"""The most that M_MMAP_THRESHOLD may be."""


def keep_freed_memory() -> None:
    """Have this process keep what it frees, up to :data:`_KEPT_BYTES`, where the C library can be told so."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)
