"""What can be asked of a save.

Step "saved" of docs/architecture.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from fadump.capture.packers import Compression
from fadump.errors import UsageError
from fadump.linux.pages.page_class import DumpLevel

if TYPE_CHECKING:
    from fadump.capture.formats import OutputFormat
    from fadump.capture.plugins import Plugin


class Format(StrEnum):
    """A format's name."""

    KDUMP = "kdump"
    ELF = "elf"


@dataclass(frozen=True, slots=True)
class SaveOptions:
    """How to save. Of ``levels`` the first is taken; the next one if the disk turns out to be too small.

    ``compression`` is for a kdump-compressed file. ``split`` is the number of files; an ELF core is always one.
    ``continued`` goes on with files that were interrupted. ``registers`` adds each CPU's registers where other readers
    look for them (:mod:`fadump.capture.registers`). ``plugins`` are asked in turn which pages are left in.
    """

    levels: Sequence[DumpLevel] = (DumpLevel(0),)
    compression: Compression = Compression.ZLIB
    format: Format = Format.KDUMP
    threads: int = 1
    split: int = 1
    continued: bool = False
    registers: bool = True
    plugins: "Sequence[Plugin]" = ()

    def __post_init__(self) -> None:
        """:raises UsageError: a dump of this format can't be split."""
        if self.split > 1 and not self.output.can_be_split:
            raise UsageError(f"--split doesn't go with --format {self.format}, of which a dump is one file")

    def check_library(self) -> None:
        """Accept that a save is begun with these options: later is too late to find out what the host lacks.

        :raises SetupError: it lacks the library of this compression.
        """
        self.output.check_library()

    @property
    def output(self) -> "OutputFormat":
        """The format that is asked for, with what it takes of the options."""
        from fadump.capture.formats import output_format  # noqa: PLC0415 - a slow start, and a save alone needs it

        return output_format(self.format, self.compression)
