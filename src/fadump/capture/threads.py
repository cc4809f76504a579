"""Work in threads, its results in order.

Step "saved" of docs/architecture.md. Threads take pieces of work from one queue, and the caller gets the results in the
order of the work; nothing polls, and only a few pieces are in memory at any time. concurrent.futures would do, too, but
takes logging and more with it, which a capture boot waits for.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from threading import Thread
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

_AHEAD = 2
"""How many pieces there are for each thread: waiting, being worked on, or done."""

Work = TypeVar("Work")
Result = TypeVar("Result")


class _Outcome(Generic[Result]):
    """What a piece of work will have come to: its result, or its error."""

    def __init__(self, work: Callable[[], Result]) -> None:
        self._work = work
        self._answer: SimpleQueue[tuple[Result | None, BaseException | None]] = SimpleQueue()

    def work(self) -> None:
        """Do it."""
        try:
            self._answer.put((self._work(), None))
        except BaseException as error:  # noqa: BLE001 - raised where the result is waited for
            self._answer.put((None, error))

    def result(self) -> Any:  # noqa: ANN401 - a Result, or it raises
        """Wait for its end; once."""
        result, error = self._answer.get()
        if error is not None:
            raise error
        return result


class InOrder:
    """A pool of threads. As a context manager, when left, it waits for what is being worked on and drops the rest."""

    def __init__(self, threads: int) -> None:
        self._most = threads * _AHEAD + 1
        self._pieces: SimpleQueue[_Outcome[Any] | None] = SimpleQueue()
        self._count = threads
        self._threads: list[Thread] = []

    def map(self, function: Callable[[Work], Result], pieces: Iterable[Work]) -> Iterator[Result]:
        """The result of ``function`` for each piece; if it raises, its error is raised in the place of the result."""
        queue: deque[_Outcome[Result]] = deque()
        for piece in pieces:
            queue.append(_Outcome(partial(function, piece)))
            self._pieces.put(queue[-1])
            if len(self._threads) < self._count:
                self._start()
            if len(queue) >= self._most:
                yield queue.popleft().result()
        while queue:
            yield queue.popleft().result()

    def _start(self) -> None:
        thread = Thread(target=self._work, name="save")
        thread.start()
        self._threads.append(thread)

    def _work(self) -> None:
        while (piece := self._pieces.get()) is not None:
            piece.work()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with suppress(Empty):
            while True:
                self._pieces.get_nowait()
        for _thread in self._threads:
            self._pieces.put(None)
        for thread in self._threads:
            thread.join()
