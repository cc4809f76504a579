"""Linux's Firmware-Assisted Dump, whole: firmware, machine and dump tools.

To read a dump, ``fadump.open("vmcore")`` gives a :class:`~fadump.linux.system.CrashedSystem`; whatever is wrong with it
or isn't in it is a :class:`FadumpError`, which says so in a sentence. examples/memory_by_class.py draws what a machine
used its memory for.
"""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fadump.errors import FadumpError

if TYPE_CHECKING:
    from fadump.linux.system import CrashedSystem

__all__ = ["FadumpError", "open"]
__version__ = "0.1.0"


def open(  # noqa: A001 - fadump.open, as in gzip.open
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    vmlinux: str | os.PathLike[str] | None = None,
) -> "CrashedSystem":
    """Open a dump of any kind, or all files of a split one in any order.

    ``vmlinux`` is the crashed kernel's: it has symbols that older kernels don't list themselves, and, with debug
    information, says where tasks are. Close what you get, or use it as a context manager:

        with fadump.open("vmcore") as system:
            print(system.ending.panic, *(cpu.number for cpu in system.cpus if cpu.crashed))

    :raises FadumpError: it is not a dump, or its headers make no sense.
    :raises OSError: it can't be opened or read.
    """
    from fadump.linux.system import open_system  # noqa: PLC0415 - most uses of this package don't read dumps

    return open_system(paths, vmlinux=vmlinux)
