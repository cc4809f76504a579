"""What commands that save a dump have in common: how it is asked for, and what is said of it."""

import argparse
import os
from typing import TYPE_CHECKING

from fadump.linux.pages.page_class import DumpLevel

if TYPE_CHECKING:
    from fadump.capture.save import Saved

_MOST_LEVEL = 31


def levels(text: str) -> list[DumpLevel]:
    """Dump levels as they are typed: "31", "1,31"."""
    try:
        numbers = [int(number) for number in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers") from None
    if any(not 0 <= number <= _MOST_LEVEL for number in numbers):
        raise argparse.ArgumentTypeError(f"a level is 0 to {_MOST_LEVEL}")
    return [DumpLevel(number) for number in numbers]


def cpus() -> int:
    """How many CPUs there are for this process."""
    return len(os.sched_getaffinity(0))


def saved_as_json(saved: "Saved") -> dict[str, object]:
    """What has been saved."""
    return {
        "result": "saved" if saved.complete else "incomplete",
        "files": [str(path) for path in saved.files],
        "bytes": saved.size_bytes,
        "dmesg": None if saved.dmesg is None else str(saved.dmesg),
        "level": int(saved.level),
        "pages": saved.pages.as_json(),
        "kept_bytes": saved.kept_bytes,
        "remarks": list(saved.remarks),
    }
