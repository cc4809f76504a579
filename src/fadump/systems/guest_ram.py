"""Where the memory of a system's machine lies: in this computer's, or in a sparse file on a disk."""

import shutil
from pathlib import Path

from fadump.errors import SetupError
from fadump.run.host import available_bytes, existing_directory

_MIB = 1 << 20
_LEAST_FREE_BYTES = 16 << 30
"""Enough for a guest of any size that does little: one of 256 GiB wrote to 1.3 until its dump was saved."""


def ram_directory(memory_bytes: int, wanted_bytes: int, directory: Path) -> Path | None:
    """Where the file of guest RAM is to be made: in ``directory``, which need not be there yet; None if this
    computer has as many bytes of memory as are wanted.

    :raises SetupError: its disk has no room either.
    """
    available = available_bytes()
    if available >= wanted_bytes:
        return None
    free = shutil.disk_usage(existing_directory(directory)).free
    if free < min(memory_bytes, _LEAST_FREE_BYTES):
        raise SetupError(
            f"a system with {memory_bytes // _MIB} MiB may come to need {wanted_bytes // _MIB} MiB of this machine, "
            f"which has {available // _MIB} MiB available, and on the disk of {directory}, where its memory would lie "
            f"then, {free // _MIB} MiB: give less --memory, or make room there"
        )
    return directory
