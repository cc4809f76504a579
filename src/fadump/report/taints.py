"""What the log says of taint and of modules: Linux print_tainted() in kernel/panic.c, print_modules()."""

import re
from collections.abc import Iterable, Sequence
from types import MappingProxyType

_TAINTED = re.compile(r"\bTainted: ([A-Z ]+)(?![a-z])")
_LINKED = re.compile(r"Modules linked in:(.*)")
_MODULE = re.compile(r"([\w-]+)(\([A-Z+-]+\))?")
_MOST_MODULES = 1000
_WORDS = MappingProxyType(
    {
        "P": "a proprietary module was loaded",
        "F": "a module was loaded by force",
        "S": "the processor is out of its specification",
        "R": "a module was unloaded by force",
        "M": "a machine check was reported",
        "B": "a page was in a bad state",
        "U": "user space asked for it",
        "D": "the kernel had died before: an Oops or BUG",
        "W": "the kernel had warned",
        "C": "a staging driver was loaded",
        "I": "a bug of the firmware was worked around",
        "O": "a module from outside the kernel's tree was loaded",
        "E": "an unsigned module was loaded",
        "L": "a soft lockup occurred",
        "K": "the kernel was patched live",
        "X": "something of the distribution's own",
        "T": "the layout of structures is random",
        "N": "an in-kernel test was run",
    }
)


def taints(texts: Iterable[str]) -> Sequence[str] | None:
    """What tainted the kernel, by the last message that says so; empty if nothing did, None if none says."""
    found: Sequence[str] | None = None
    for text in texts:
        tainted = _TAINTED.search(text)
        if "Not tainted" in text:
            found = []
        elif tainted is not None:
            letters = dict.fromkeys(tainted[1].replace(" ", ""))
            found = [f"{letter}: {_WORDS[letter]}" for letter in letters if letter in _WORDS]
    return found


def linked_modules(texts: Iterable[str]) -> Sequence[str]:
    """The modules of the last list of them, each with its taint in parentheses as Linux has it."""
    found: Sequence[str] = ()
    for text in texts:
        listed = _LINKED.match(text)
        if listed is not None:
            names = listed[1].partition("[last unloaded:")[0].split()
            found = [name for name in names if _MODULE.fullmatch(name)][:_MOST_MODULES]
    return found
