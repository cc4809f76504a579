"""Work in threads, its results in order.

Step "saved" of docs/architecture.md. Threads take pieces of work from one bounded queue, and the caller gets the
results in the order of the work; nothing polls, and only a few pieces are in memory at any time.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self, TypeVar

from fadump.signals import held

_AHEAD = 2
"""How many pieces there are for each thread: waiting, being worked on, or done."""

Work = TypeVar("Work")
Result = TypeVar("Result")


class InOrder:
    """A pool of threads. As a context manager, when left, it waits for what is being worked on and drops the rest.

    A signal is raised between two pieces: within the pool's own code it could leave a lock taken that a thread waits
    for, for ever. The threads, which begin there, get none.
    """

    def __init__(self, threads: int) -> None:
        self._most = threads * _AHEAD + 1
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="save")

    def map(self, function: Callable[[Work], Result], pieces: Iterable[Work]) -> Iterator[Result]:
        """The result of ``function`` for each piece; if it raises, its error is raised in the place of the result."""
        queue: deque[Future[Result]] = deque()
        for piece in pieces:
            with held():
                queue.append(self._pool.submit(function, piece))
            if len(queue) >= self._most:
                yield _result(queue.popleft())
        while queue:
            yield _result(queue.popleft())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)


def _result(future: Future[Result]) -> Result:
    with held():
        return future.result()
