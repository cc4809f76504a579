"""A message of the crashed kernel's log, whatever the log's form is; see :mod:`fadump.linux.log.reader`."""

from collections.abc import Iterator
from dataclasses import dataclass

from fadump.abi.linux import printk as abi
from fadump.printable import printable

_NANOSECONDS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class LogRecord:
    """One message.

    ``timestamp_ns`` counts nanoseconds since boot, None if the kernel hasn't noted it; ``facility`` and ``level`` are
    syslog(3)'s. ``text`` has no closing newline but may have newlines inside; bytes that are not UTF-8 are shown as
    escapes. None: it can't be read.
    ``caller`` is "T" and a thread's number or "C" and a processor's, None if the kernel doesn't record it.
    """

    sequence: int
    timestamp_ns: int | None
    facility: int
    level: int
    flags: abi.LogFlags
    text: str | None
    caller: str | None = None
    subsystem: str = ""
    device: str = ""

    @property
    def stamp(self) -> str:
        """The time as dmesg(1) prints it before the text: "[    0.000000] "; empty without a time."""
        if self.timestamp_ns is None:
            return ""
        seconds, fraction = divmod(self.timestamp_ns, _NANOSECONDS)
        return f"[{seconds:5d}.{fraction // 1000:06d}] "

    def lines(self) -> Iterator[str]:
        """The record as dmesg(1) prints it, with the time on each line; see printable()."""
        prefix = self.stamp
        if self.text is None:
            yield f"{prefix}(the dump doesn't have this message's text)"
            return
        for line in self.text.split("\n"):
            yield prefix + printable(line)


def caller_name(id_: int) -> str:
    """The name of who called printk(), by struct printk_info's or printk_log's caller_id."""
    return f"C{id_ & ~abi.CALLER_IS_CPU}" if id_ & abi.CALLER_IS_CPU else f"T{id_}"


def decoded(raw: bytes) -> str:
    """A message's bytes as text."""
    return raw.decode("utf-8", "backslashreplace")
