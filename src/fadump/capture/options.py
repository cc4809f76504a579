"""What can be asked of a save.

Step "saved" of docs/architecture.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from fadump.capture.packers import Compression
from fadump.linux.pages import DumpLevel


class Format(StrEnum):
    """The name of what is written; what it can hold, and how it is written, is in :mod:`fadump.capture.formats`."""

    KDUMP = "kdump"
    ELF = "elf"


@dataclass(frozen=True, slots=True)
class SaveOptions:
    """How to save. Of ``levels`` the first is taken; the next one if the disk turns out to be too small.

    ``compression`` is a kdump-compressed file's. ``split`` is the number of files, which an ELF core has one of.
    ``continued`` goes on with files that were interrupted. ``registers`` adds each CPU's where other readers look for
    them (:mod:`fadump.capture.registers`).
    """

    levels: Sequence[DumpLevel] = (DumpLevel(0),)
    compression: Compression = Compression.ZLIB
    format: Format = Format.KDUMP
    threads: int = 1
    split: int = 1
    continued: bool = False
    registers: bool = True
