"""OPAL's own core, which powernv has beside the dump: saved into the dump's directory, where there is one.

Linux arch/powerpc/platforms/powernv/opal-core.c.
"""

import os
from contextlib import suppress

from fadump.capture.files import HOST, fsync_file, write_all
from fadump.capture.target import incomplete_name
from fadump.errors import reason
from fadump.service.root import Root
from fadump.service.targets.contract import OPAL_CORE_NAME, Stored

_PIECE_BYTES = 1 << 20
_PRIVATE = 0o600


def save_opal_core(root: Root, stored: Stored) -> str | None:
    """Copy it durably beside a dump, if there is any; why it isn't there, as a sentence, or None."""
    if not root.opal_core.exists():
        return None
    if stored.directory is None:
        return f"{root.opal_core} stays, as {stored.where} is no directory to save it to"
    path = stored.directory / OPAL_CORE_NAME
    if path.exists():
        return None
    incomplete = incomplete_name(path)
    try:
        with suppress(FileNotFoundError):
            incomplete.unlink()
        fd = HOST.open(incomplete, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE)
        try:
            with root.opal_core.open("rb", buffering=0) as core:
                while piece := core.read(_PIECE_BYTES):
                    write_all(HOST, fd, piece)
            fsync_file(HOST, fd)
        finally:
            HOST.close(fd)
        HOST.rename(incomplete, path)
        HOST.fsync_directory(stored.directory)
    except OSError as error:
        with suppress(OSError):
            incomplete.unlink()
        return f"{root.opal_core} stays, as it can't be saved to {path}: {reason(error)}"
    return None
