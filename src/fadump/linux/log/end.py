"""The end of the crashed kernel's log, and the first sign of trouble in it."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from fadump.linux.log.ending import Ending, find_ending
from fadump.linux.log.record import LogRecord

MOST_KEPT = 400
"""How many messages of a log's end are kept."""


@dataclass(frozen=True, slots=True)
class LogEnd:
    """The last ``records`` of a log, oldest first, and what the whole log says about the end.

    ``first_sign`` is the index of the message that is the cause, or else of panic()'s; None if neither is among them.
    ``earlier`` is how many messages came before these.
    """

    ending: Ending
    records: Sequence[LogRecord]
    first_sign: int | None
    earlier: int


def read_log_end(log: Iterable[LogRecord]) -> LogEnd:
    """Read a log once, for both.

    :raises FadumpError: as the log itself.
    """
    last: deque[LogRecord] = deque(maxlen=MOST_KEPT)
    count = 0

    def kept() -> Iterator[LogRecord]:
        nonlocal count
        for record in log:
            count += 1
            last.append(record)
            yield record

    ending = find_ending(kept())
    records = tuple(last)
    return LogEnd(ending, records, _first_sign(records, ending), count - len(records))


def _first_sign(records: Sequence[LogRecord], ending: Ending) -> int | None:
    panic = None if ending.panic is None else f"Kernel panic - not syncing: {ending.panic}"
    end = _last(records, panic, len(records))
    cause = _last(records, ending.cause, len(records) if end is None else end)
    return end if cause is None else cause


def _last(records: Sequence[LogRecord], line: str | None, end: int) -> int | None:
    """The index of the last of the kernel's own messages before ``end`` that begins with a line."""
    if line is None:
        return None
    for index in range(end - 1, -1, -1):
        text = records[index].text
        if text is not None and records[index].facility == 0 and text.partition("\n")[0] == line:
            return index
    return None
