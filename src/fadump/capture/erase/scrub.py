"""Copies of erased bytes in what isn't memory: a dump's notes and its VMCOREINFO.

Step "saved" of docs/architecture.md. VMCOREINFO is a copy of the kernel's memory, and each CPU's registers are, too, if
the kernel has saved them itself. So whatever of them, :data:`LEAST_BYTES` or more in a row, stands in erased memory is
overwritten as well. Fewer could be there by chance, as could an address and zeros: so some of them have to differ.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

LEAST_BYTES = 16
FILLER = b"X"
"""As makedumpfile overwrites."""

_WORD = 8
_LEAST_DIFFERENT = 8
_STEP_BYTES = 1 << 20
_FACTOR = np.uint64(0x9E37_79B9_7F4A_7C15)

Hashes = npt.NDArray[np.uint64]


def scrubbed(texts: Sequence[bytes], erased: Iterable[bytes]) -> list[bytes]:
    """The same texts, in which what stands in ``erased``, too, is overwritten."""
    joined = bytes(LEAST_BYTES).join(texts)
    data = np.frombuffer(joined, np.uint8)
    hashes = _hashes(data)
    wanted = np.unique(hashes)
    there = np.zeros(len(wanted), np.bool_)
    for piece in erased:
        for at in range(0, len(piece), _STEP_BYTES):
            part = np.frombuffer(piece[at : at + _STEP_BYTES + LEAST_BYTES - 1], np.uint8)
            found = np.searchsorted(wanted, _hashes(part))
            found[found == len(wanted)] = 0
            if len(wanted):
                there[found[wanted[found] == _hashes(part)]] = True
    gone = np.zeros(len(data), np.bool_)
    for start in np.flatnonzero(there[np.searchsorted(wanted, hashes)] if len(hashes) else hashes).tolist():
        if len(set(joined[start : start + LEAST_BYTES])) >= _LEAST_DIFFERENT:
            gone[start : start + LEAST_BYTES] = True
    new = np.where(gone, np.uint8(FILLER[0]), data).tobytes()
    parts, at = [], 0
    for text in texts:
        parts.append(new[at : at + len(text)])
        at += len(text) + LEAST_BYTES
    return parts


def _hashes(data: npt.NDArray[np.uint8]) -> Hashes:
    """A number for each run of :data:`LEAST_BYTES` bytes, nearly always another for other bytes."""
    if len(data) < LEAST_BYTES:
        return np.empty(0, np.uint64)
    windows = np.lib.stride_tricks.sliding_window_view(data, _WORD)
    words = np.ascontiguousarray(windows).view(np.uint64)[:, 0]
    return words[:-_WORD] * _FACTOR ^ words[_WORD:]
