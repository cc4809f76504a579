"""What crashed, when and why: the crashed kernel's name, its clock, and what its log says about the end.

After the last step of "follow one crash" in docs/architecture.md. Linux: struct new_utsname in
include/uapi/linux/utsname.h; CRASHTIME, which crash_save_vmcoreinfo() adds to VMCOREINFO; panic() in kernel/panic.c.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from fadump.errors import AddressError, FormatError, ReadError
from fadump.linux.log import LogRecord
from fadump.linux.memory import KernelMemory
from fadump.linux.translate import TranslationError
from fadump.linux.vmcoreinfo import MissingFactError

_NAME_BYTES = 65
_NAMES = 6
_PANIC = re.compile(r"Kernel panic - not syncing: (.*)")
_CAUSE = re.compile(
    r"BUG:|Oops:|kernel BUG at|Unable to handle kernel|sysrq: Trigger a crash|System Reset|Machine check"
    r"|watchdog: .*(?i:lockup)|Out of memory and no killable|hung_task: blocked tasks"
)


@dataclass(frozen=True, slots=True)
class KernelName:
    """What uname(2) said."""

    system: str
    node: str
    release: str
    version: str
    machine: str
    domain: str


@dataclass(frozen=True, slots=True)
class Ending:
    """What the log says about the end. ``panic`` is panic()'s message, None if it wasn't called.

    ``cause`` is the last message before that which tells of something wrong. ``uptime_ns`` is the time of the panic,
    or of the last message, in nanoseconds since boot; None if there is no message.
    """

    panic: str | None
    cause: str | None
    uptime_ns: int | None


def read_name(memory: KernelMemory) -> KernelName | None:
    """The kernel's name; None if VMCOREINFO doesn't say where it is, or it can't be read."""
    try:
        start = memory.facts.symbol("init_uts_ns") + memory.facts.offset("uts_namespace.name")
        raw = memory.read(start, _NAMES * _NAME_BYTES)
    except (MissingFactError, AddressError, TranslationError, ReadError):
        return None
    texts = [raw[at : at + _NAME_BYTES].partition(b"\0")[0] for at in range(0, len(raw), _NAME_BYTES)]
    return KernelName(*(text.decode("utf-8", "backslashreplace") for text in texts))


def crash_time(memory: KernelMemory) -> int | None:
    """Seconds since 1970, UTC, when the kernel saved its VMCOREINFO in order to crash; None if it didn't."""
    try:
        return memory.facts.plain_number("CRASHTIME")
    except (MissingFactError, FormatError):
        return None


def find_ending(log: Iterable[LogRecord]) -> Ending:
    """What a log says about the end."""
    panic = cause = uptime_ns = None
    for record in log:
        text = record.text or ""
        uptime_ns = record.timestamp_ns
        found = _PANIC.search(text)
        if found is not None:
            panic = found[1]
            break
        if _CAUSE.search(text) is not None:
            cause = text.partition("\n")[0]
    return Ending(panic, cause, uptime_ns)
