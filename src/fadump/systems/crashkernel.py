"""``crashkernel=`` of a system that isn't there yet: a size that FADump takes, or sizes for ranges of RAM.

Linux Documentation/admin-guide/kdump/kdump.rst; what FADump makes of it is in :mod:`fadump.kernel.plan.cmdline`. If
Linux can't read it, a default counts; if it is too little, there is no FADump. Linux says so in its log only.
"""

from fadump.abi.platform import Platform
from fadump.kernel.plan.map_text import parse_size
from fadump.kernel.traits import MIB, least_boot_memory_bytes
from fadump.systems.vm import MOST_MEMORY


def check_crashkernel(text: str) -> None:
    """See that FADump on pseries would take ``text`` as crashkernel=.

    :raises ValueError: it wouldn't.
    """
    sizes, at, offset = text.partition("@")
    if at:
        parse_size(offset)
    for part in sizes.split(","):
        ram, colon, size = part.rpartition(":")
        if colon:
            _check_range(ram)
        _check_size(size)


def _check_range(text: str) -> None:
    start, dash, end = text.partition("-")
    if not dash or (end and parse_size(end) <= parse_size(start)):
        raise ValueError(f"{text!r} is not a range of RAM; write it as 2G-4G or 4G-")
    parse_size(start)


def _check_size(text: str) -> None:
    size_bytes, least_bytes = parse_size(text), least_boot_memory_bytes(Platform.PSERIES)
    if size_bytes < least_bytes:
        meant = f"; did you mean {text}M?" if text.isdecimal() and parse_size(f"{text}M") >= least_bytes else ""
        raise ValueError(f"{text!r} is too little: FADump on pseries takes {least_bytes // MIB}M or more{meant}")
    if size_bytes >= MOST_MEMORY:
        raise ValueError(f"{text!r} is too much: give less than {MOST_MEMORY >> 30}G, the most that a machine has")


def with_crashkernel(cmdline: str, size_bytes: int) -> str:
    """The same command line with this crashkernel= and no other, in whole MiB."""
    words = [word for word in cmdline.split(" ") if word and not word.startswith("crashkernel=")]
    return " ".join([*words, f"crashkernel={size_bytes // MIB}M"])
