"""A machine's console, in its log and where somebody looks at it."""

import io
from typing import BinaryIO, cast


class _Both(io.RawIOBase):
    """A file whose content goes to two."""

    def __init__(self, log: BinaryIO, screen: BinaryIO) -> None:
        self._log = log
        self._screen = screen

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]  # bytes is all that is written
        self._log.write(data)
        return self._screen.write(data)

    def flush(self) -> None:
        self._log.flush()


def shown(log: BinaryIO, screen: BinaryIO | None) -> BinaryIO:
    """The log of a console which is shown on a screen as well, if there is one."""
    return log if screen is None else cast("BinaryIO", _Both(log, screen))
