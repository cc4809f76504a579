"""Work in threads, its results in order.

Step "saved" of docs/architecture.md. Threads take pieces of work from one bounded queue, and the caller gets the
results in the order of the work; nothing polls, and only a few pieces are in memory at any time.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self, TypeVar

_AHEAD = 2
"""How many pieces there are for each thread: waiting, being worked on, or done."""

Work = TypeVar("Work")
Result = TypeVar("Result")


class InOrder:
    """A pool of threads. As a context manager, when left, it waits for what is being worked on and drops the rest."""

    def __init__(self, threads: int) -> None:
        self._most = threads * _AHEAD + 1
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="save")

    def map(self, function: Callable[[Work], Result], pieces: Iterable[Work]) -> Iterator[Result]:
        """The result of ``function`` for each piece; if it raises, its error is raised in the place of the result."""
        queue: deque[Future[Result]] = deque()
        for piece in pieces:
            queue.append(self._pool.submit(function, piece))
            if len(queue) >= self._most:
                yield queue.popleft().result()
        while queue:
            yield queue.popleft().result()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)
