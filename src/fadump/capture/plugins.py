"""A user's own choice of pages: ``fadump save --only FILE.py:function``, ``--drop FILE.py:function``.

Step "saved" of docs/architecture.md; docs/erase.md has an example. The function is asked about many pages at once, by
their numbers, of those that the dump level leaves in. Whatever it raises, or returns in place of an answer, is one
sentence, and nothing is saved.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fadump.capture.bits import PageBits
from fadump.capture.selection import KnownPages, Selection
from fadump.errors import FadumpError, UsageError
from fadump.given import check_file
from fadump.linux.pages.page_class import PageClass
from fadump.linux.pages.page_flags import PageFlags
from fadump.linux.pages.page_rules import ClassArray
from fadump.linux.system import UNREADABLE_KERNEL, CrashedSystem
from fadump.memory.ranges import Range
from fadump.printable import in_a_line

PageNumbers = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]
_MOST_SHOWN = 200


class PluginError(FadumpError):
    """A plugin that can't be asked, or gives no answer."""


@dataclass(frozen=True, slots=True)
class Plugin:
    """A function that says of pages which are kept, or with ``drops`` which aren't; ``name`` is as it was typed."""

    name: str
    function: Callable[[PageNumbers, "Pages"], object]
    drops: bool

    @property
    def option(self) -> str:
        """How it was given."""
        return f"{'--drop' if self.drops else '--only'} {self.name}"


class Pages:
    """What a plugin can know of the pages that it is asked about; arrays are in the order of their numbers."""

    def __init__(self, system: CrashedSystem, known: KnownPages, flags: PageFlags | None, pfns: PageNumbers) -> None:
        self.system = system
        """The crashed system: its symbols, its memory by virtual address, its types."""
        self.page_bytes = known.page_bytes
        """Bytes in a page."""
        self._known = known
        self._flags = flags
        self._pfns = pfns
        self._range = Range(int(pfns[0]), int(pfns[-1]) + 1)

    @cached_property
    def classes(self) -> ClassArray:
        """Each page's :class:`~fadump.linux.pages.page_class.PageClass`; UNKNOWN if the dump doesn't say."""
        if self._known.classes is None:
            return np.full(len(self._pfns), PageClass.UNKNOWN, np.uint8)
        return self._known.classes.of(self._range)[self._places]

    @cached_property
    def flags(self) -> npt.NDArray[np.uint64]:
        """The ``flags`` of each page's struct page; 0 if the dump doesn't have it."""
        if self._flags is None:
            return np.zeros(len(self._pfns), np.uint64)
        return self._flags.of(self._range)[self._places]

    def read(self, pfn: int) -> bytes:
        """The bytes of a page, of these or of any other.

        :raises NotInDumpError: the dump doesn't have all of it.
        """
        return self.system.dump.read_physical(int(pfn) * self.page_bytes, self.page_bytes)

    @property
    def _places(self) -> npt.NDArray[np.int64]:
        return self._pfns.astype(np.int64) - self._range.start


def load_plugin(text: str, *, drops: bool) -> Plugin:
    """The function that ``text`` names, "FILE.py:function".

    :raises UsageError: it names none.
    :raises SetupError: there is no such file.
    :raises PluginError: the file can't be run.
    """
    option = "--drop" if drops else "--only"
    file, colon, name = text.rpartition(":")
    if not colon or not file or not name.isidentifier():
        raise UsageError(f"{option} {text}: a plugin is FILE.py:function")
    check_file(option, Path(file))
    import runpy  # noqa: PLC0415 - slow to start, and few have a plugin

    try:
        names = runpy.run_path(file)
    except (Exception, SystemExit) as error:
        raise PluginError(f"{option} {text}: {_said(error, file)}") from error
    function = names.get(name)
    if not callable(function):
        functions = [key for key, value in names.items() if callable(value) and not key.startswith("_")]
        raise UsageError(f"{option} {text}: there is no function {name}; there are {', '.join(functions) or 'none'}")
    return Plugin(text, function, drops)


def ask_plugins(selection: Selection, plugins: Sequence[Plugin], system: CrashedSystem, known: KnownPages) -> Selection:
    """What plugins leave of a selection.

    :raises PluginError: one of them gives no answer.
    """
    if not plugins:
        return selection
    flags = _find_flags(system, known)
    wanted, missing = selection.wanted.copy(), PageBits(selection.pages)
    for window in selection.wanted.windows(0, selection.pages):
        kept = wanted.flags(window.start, window.end)
        for plugin in plugins:
            numbers = np.flatnonzero(kept)
            if len(numbers):
                pfns = (numbers + window.start).astype(np.uint64)
                answer = _ask(plugin, pfns, Pages(system, known, flags, pfns))
                kept[numbers] = answer ^ plugin.drops
        wanted.put(window.start, kept)
        missing.put(window.start, kept & selection.missing.flags(window.start, window.end))
    by_plugin = selection.wanted.count() - wanted.count()
    return replace(selection, wanted=wanted, missing=missing, excluded_by_plugin=by_plugin)


def _find_flags(system: CrashedSystem, known: KnownPages) -> PageFlags | None:
    try:
        if system.vmcoreinfo.page_bytes() == known.page_bytes:
            return PageFlags(system.memory)
    except UNREADABLE_KERNEL:
        pass
    return None


def _ask(plugin: Plugin, pfns: PageNumbers, pages: Pages) -> Mask:
    try:
        answer = np.asarray(plugin.function(pfns.copy(), pages))
    except (Exception, SystemExit) as error:
        raise PluginError(f"{plugin.option}: {_said(error, plugin.name.rpartition(':')[0])}") from error
    if answer.dtype != np.bool_ or answer.shape != pfns.shape:
        raise PluginError(
            f"{plugin.option}: it returns {answer.dtype} of shape {answer.shape}, and not a bool for each of "
            f"{len(pfns)} pages"
        )
    return answer


def _said(error: BaseException, file: str) -> str:
    """An error as part of a sentence, with the last line of the plugin that led to it."""
    from traceback import extract_tb  # noqa: PLC0415 - a slow start, and only a plugin's error needs it

    lines = [frame.lineno for frame in extract_tb(error.__traceback__) if frame.filename == file]
    if isinstance(error, SyntaxError):
        lines.append(error.lineno)
    text = in_a_line(str(error))
    where = f", line {lines[-1]}" if lines else ""
    return f"{type(error).__name__}{where}: {text[:_MOST_SHOWN]}"
