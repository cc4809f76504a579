"""Numbers as they are typed, for argparse."""

import argparse
import math
from collections.abc import Callable

_LEAST_SECONDS, _MOST_SECONDS = 0.001, 1e9


def whole_number(text: str) -> int:
    """Any whole number; what it may be is for others to say.

    :raises argparse.ArgumentTypeError: it is none.
    """
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError("write a whole number") from None


def factor(text: str) -> float:
    """What something is multiplied by; what it may be is for others to say.

    :raises argparse.ArgumentTypeError: it is no number.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError("write a number, as 2 or 0.5")
    return value


def seconds(text: str) -> float:
    """A time in seconds, which may have a fraction.

    :raises argparse.ArgumentTypeError: it is none that can be waited for.
    """
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not _LEAST_SECONDS <= value <= _MOST_SECONDS:  # also NaN
        raise argparse.ArgumentTypeError("write seconds, from 0.001 to 1000000000")
    return value


def since_boot(text: str) -> int:
    """A time in seconds since boot, which may have a fraction; in nanoseconds.

    :raises argparse.ArgumentTypeError: it is none.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= _MOST_SECONDS:  # also NaN
        raise argparse.ArgumentTypeError("write seconds since boot, from 0 to 1000000000")
    return round(value * 1e9)


def number(least: int, most: int | None = None) -> Callable[[str], int]:
    """A type for numbers from ``least`` to ``most``, which raises argparse.ArgumentTypeError for others."""

    def parse(text: str) -> int:
        if not text.isdecimal() or int(text) < least or (most is not None and int(text) > most):
            upper = "on" if most is None else f"to {most}"
            raise argparse.ArgumentTypeError(f"write a number from {least} {upper}")
        return int(text)

    return parse
