"""Linux's Firmware-Assisted Dump, whole: firmware, machine and dump tools.

To read a dump, ``fadump.open("vmcore")`` gives a :class:`~fadump.linux.system.CrashedSystem`.
"""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fadump.linux.system import CrashedSystem

__all__ = ["open"]
__version__ = "0.1.0"


def open(  # noqa: A001 - fadump.open, as in gzip.open
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    vmlinux: str | os.PathLike[str] | None = None,
) -> "CrashedSystem":
    """Open a dump of any kind, or all files of a split one; see :func:`fadump.linux.system.open_system`."""
    from fadump.linux.system import open_system  # noqa: PLC0415 - most uses of this package don't read dumps

    return open_system(paths, vmlinux=vmlinux)
