"""Sizes of memory as they are typed, for argparse."""

import argparse
import re

from fadump.kernel.plan.map_text import parse_size

_LEAST_WITHOUT_UNIT = 1 << 20
_LEAST_MEGABYTES = 1 << 10


def size(text: str) -> int:
    """Bytes in "2G", "1536MiB" or "0x80000000". So small a number as 4 is taken for one whose unit was forgotten.

    :raises argparse.ArgumentTypeError: it is no size; the sentence says what to write.
    """
    size_bytes = exact_size(text)
    if text.isdecimal() and 0 < size_bytes < _LEAST_WITHOUT_UNIT:
        unit = "G" if size_bytes < _LEAST_MEGABYTES else "M"
        raise argparse.ArgumentTypeError(f"that is {size_bytes} bytes: write {size_bytes}{unit}")
    return size_bytes


def exact_size(text: str) -> int:
    """The same of something that may be small: 4096 is 4096 bytes.

    :raises argparse.ArgumentTypeError: it is no size; the sentence says what to write.
    """
    try:
        return parse_size(re.sub(r"(?<=[KMGTPE])i?B$", "", text, flags=re.IGNORECASE))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
