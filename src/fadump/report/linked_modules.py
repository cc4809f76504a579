"""The modules that the log lists, where they can't be read themselves: Linux kernel/module/main.c, print_modules()."""

import re
from collections.abc import Iterable, Sequence

_LINKED = re.compile(r"Modules linked in:(.*)")
_MODULE = re.compile(r"([\w-]+)(\([A-Z+-]+\))?")
_MOST_MODULES = 1000


def linked_modules(texts: Iterable[str]) -> Sequence[str]:
    """The modules of the last list of them, each with its taint in parentheses as Linux has it."""
    found: Sequence[str] = ()
    for text in texts:
        listed = _LINKED.match(text)
        if listed is not None:
            names = listed[1].partition("[last unloaded:")[0].split()
            found = [name for name in names if _MODULE.fullmatch(name)][:_MOST_MODULES]
    return found
