"""Numbers that user space writes to the kernel's files, parsed as in Linux.

Steps "register" and "release" of docs/architecture.md. Linux lib/kstrtox.c, kstrtoint() with base 0.
"""

import re

_NUMBER = re.compile(rb"([+-]?)(0[xX][0-9a-fA-F]+|[0-9]+)\n?")
_INT = range(-(1 << 31), 1 << 31)


def kstrtoint(data: bytes) -> int | None:
    """The number in ``data``, which ends at its first zero byte; None: Linux returns an error.

    A sign, then decimal, 0x and hexadecimal, or 0 and octal; only one line feed may follow.
    """
    match = _NUMBER.fullmatch(data.partition(b"\0")[0])
    if match is None:
        return None
    sign, digits = match.groups()
    try:
        value = int(digits, 8 if digits.isdigit() and digits[:1] == b"0" else 0)
    except ValueError:  # an 8 or a 9 in an octal number
        return None
    value = -value if sign == b"-" else value
    return value if value in _INT else None
