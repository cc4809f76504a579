"""The dump to be saved, and what is read from it once, before any page is.

Step "saved" of docs/architecture.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fadump.capture.about import About, describe
from fadump.capture.options import SaveOptions
from fadump.capture.plugins import Plugin, ask_plugins
from fadump.capture.registers import AddedRegisters, with_registers
from fadump.capture.selection import KnownPages, Selection, know_pages, select_pages
from fadump.linux.pages.page_class import DumpLevel
from fadump.linux.system import CrashedSystem
from fadump.vmcore.contract import Dump


@dataclass(frozen=True, slots=True)
class Original:
    """``dump`` is the system's with the ``added`` registers; it is closed with the system."""

    dump: Dump
    about: About
    pages: KnownPages
    added: AddedRegisters
    system: CrashedSystem
    plugins: Sequence[Plugin]

    def select(self, level: DumpLevel) -> Selection:
        """The pages to save at a level.

        :raises FadumpError: the dump has no memory, or a plugin gives no answer.
        :raises OSError: the dump can't be read.
        """
        return ask_plugins(select_pages(self.dump, self.pages, level), self.plugins, self.system, self.pages)


def read_original(system: CrashedSystem, options: SaveOptions) -> Original:
    """Read what a save has to know.

    :raises FadumpError: nothing says how large a page is.
    :raises SetupError: the dump is packed with LZO or Snappy, or is to be, and the host lacks that library.
    :raises OSError: the dump, or the vmlinux, can't be read.
    """
    options.check_library()
    pages = know_pages(system)
    dump, added = system.dump, AddedRegisters()
    if options.registers:
        dump, added = with_registers(system, every_cpu=options.output.has_note_of_every_cpu)
    return Original(dump, describe(system, dump), pages, added, system, options.plugins)
