"""What is waited for, where no line can move: said whenever nothing has been said for a while.

The counterpart of :mod:`fadump.moving_line` for a pipe and a log; :mod:`fadump.progress` says when.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fadump.signals import held

_LOOK_SECONDS = 0.5


class Reminder:
    """Calls ``say`` once nothing has been said for ``first_seconds``, and again each ``interval_seconds`` after that.

    ``clock`` gives seconds.
    """

    def __init__(
        self,
        say: Callable[[], None],
        first_seconds: float,
        interval_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._say = say
        self._first_seconds = first_seconds
        self._interval_seconds = interval_seconds
        self._clock = clock
        self._lock = threading.RLock()
        self._is_paused = False
        self.begin()

    def begin(self) -> None:
        """Something else has been said."""
        with self._lock:
            self._due = self._clock() + self._first_seconds

    def look(self) -> None:
        """Say it if it is due; to be called often, by whichever thread."""
        with self._lock:
            if not self._is_paused and self._clock() >= self._due:
                self._due = self._clock() + self._interval_seconds
                self._say()

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Look twice a second while the block runs, whatever that does."""
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(_LOOK_SECONDS):
                self.look()

        watching = threading.Thread(target=watch, daemon=True)
        with held():
            watching.start()
        try:
            yield
        finally:
            with held():
                ended.set()
            watching.join()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Say nothing while the block runs, which says something itself."""
        with self._lock:
            self._is_paused = True
        try:
            yield
        finally:
            with self._lock:
                self._is_paused = False
                self.begin()
