"""How ``fadump show`` prints the end of the log."""

from rich.console import Console
from rich.text import Text

from fadump.linux.log.end import LogEnd
from fadump.printable import counted

_MESSAGES = 12
_BEFORE_SIGN = 3


def show_log_end(end: LogEnd, console: Console, *, verbose: bool) -> None:
    """Print the last messages, from shortly before the first sign of trouble on, which is marked; or all kept ones."""
    if verbose:
        first, last = 0, len(end.records)
    elif end.first_sign is None:
        first, last = max(0, len(end.records) - _MESSAGES), len(end.records)
    else:
        first = max(0, end.first_sign - _BEFORE_SIGN)
        last = first + _MESSAGES
    before, after = end.earlier + first, len(end.records[last:])
    console.print(
        Text("The log's end" if end.first_sign is None else "The log's end, and the first sign of it", "bold")
    )
    if before:
        console.print(f"  ... {counted(before, 'message')} before")
    for index, record in enumerate(end.records[first:last], first):
        is_sign = index == end.first_sign
        for number, line in enumerate(record.lines()):
            console.print(Text(f"{'> ' if is_sign and not number else '  '}{line}", "bold red" if is_sign else ""))
    if after:
        console.print(f"  ... {counted(after, 'message')} after (fadump dmesg)")
