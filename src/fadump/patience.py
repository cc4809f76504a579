"""How long a guest may take: until it takes no for an answer, and until it reports its crash after an interrupt.

Steps "register" and "crash" of docs/architecture.md. Specification: LoPAR, ibm,configure-kernel-dump, the time of the
automatic dump in the dump memory structure.
"""

import math
from collections.abc import Callable

from fadump.firmware.contract import FirmwareCall

MOST_EQUAL_CALLS = 100_000
"""How often a guest may make a call that is refused; Linux asks 60,000 times in a minute if told to wait for 1 ms."""

MOST_RESETS = 3
"""How often a guest of ours may be reset before it says a word: one that panics at each boot would go on for ever."""


class Patience:
    """The patience of a platform with one guest, by a ``clock`` in seconds."""

    def __init__(self, silence_seconds: float, clock: Callable[[], float]) -> None:
        """``silence_seconds`` is how long nothing need happen."""
        self._silence_seconds = silence_seconds
        self._clock = clock
        self._due = math.inf
        self._asked_the_same: tuple[FirmwareCall | None, int] = (None, 0)

    @property
    def silence_seconds(self) -> float:
        """How long to wait for the guest now."""
        return self._silence_seconds if self._due == math.inf else min(self._silence_seconds, max(self._left, 0.0))

    @property
    def is_limited(self) -> bool:
        """Whether the guest has to report its crash by a certain time."""
        return self._due < math.inf

    def is_over(self) -> bool:
        """Whether that time has come; this is said once."""
        if self._due == math.inf or self._left > 0:
            return False
        self._due = math.inf
        return True

    def interrupted(self, limit_ms: int) -> None:
        """The guest was interrupted, and has so many milliseconds; 0: as many as it likes."""
        self._due = self._clock() + limit_ms / 1000 if limit_ms else math.inf

    def reported(self) -> None:
        """The guest has reported its crash, or is no longer there."""
        self._due = math.inf

    def asked(self, call: FirmwareCall) -> int:
        """How often it has made this call now, without anything between."""
        before, times = self._asked_the_same
        self._asked_the_same = (call, times + 1 if call == before else 1)
        return self._asked_the_same[1]

    def heard(self) -> None:
        """It has said something, which is between two calls."""
        self._asked_the_same = (None, 0)

    @property
    def _left(self) -> float:
        return self._due - self._clock()
