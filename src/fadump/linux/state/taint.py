"""What taints a kernel or a module: letters and words.

Linux: taint_flags in kernel/panic.c, Documentation/admin-guide/tainted-kernels.rst.
"""

from collections.abc import Sequence

_TAINTS = (
    ("P", "a proprietary module was loaded"),
    ("F", "a module was loaded by force"),
    ("S", "the processor is out of its specification"),
    ("R", "a module was unloaded by force"),
    ("M", "a machine check was reported"),
    ("B", "a page was in a bad state"),
    ("U", "user space asked for it"),
    ("D", "the kernel had died before: an Oops or BUG"),
    ("A", "an ACPI table was overridden"),
    ("W", "the kernel had warned"),
    ("C", "a staging driver was loaded"),
    ("I", "a bug of the firmware was worked around"),
    ("O", "a module from outside the kernel's tree was loaded"),
    ("E", "an unsigned module was loaded"),
    ("L", "a soft lockup occurred"),
    ("K", "the kernel was patched live"),
    ("X", "of the distribution's own"),
    ("T", "the layout of structures is random"),
    ("N", "an in-kernel test was run"),
    ("J", "a device's state was changed by fwctl"),
)


def taint_letters(mask: int) -> str:
    """The letters of a mask, as in /proc/modules; ``?`` for a bit that this version doesn't know."""
    known = "".join(letter for bit, (letter, _words) in enumerate(_TAINTS) if mask >> bit & 1)
    return known + "?" * (mask >> len(_TAINTS)).bit_count()


def taint_words(mask: int) -> Sequence[str]:
    """What each bit of a mask says, with its letter: "W: the kernel had warned"."""
    words = [f"{letter}: {text}" for bit, (letter, text) in enumerate(_TAINTS) if mask >> bit & 1]
    unknown = mask >> len(_TAINTS) << len(_TAINTS)
    return [*words, f"{unknown:#x}: bits that are not known here"] if unknown else words
