"""Who runs the jobs of a campaign: here, processes on this computer; :mod:`.cluster` has a Dask cluster's."""

import os
import queue
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from fadump.campaign.execute import execute
from fadump.campaign.job import Job
from fadump.campaign.outcome import Run
from fadump.run.host import available_bytes
from fadump.signals import held

_SHARE = 0.9
"""How much of the memory that is available when a campaign begins its runs may take."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A job that has ended; ``run`` None: whoever ran it is lost, and ``why`` says so."""

    job: Job
    run: Run | None
    why: str = ""


class Pool(Protocol):
    """Runs jobs, several at a time. When its context ends, so do those that still run."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def start(self, job: Job) -> bool:
        """Begin a job; False: there is no room for it now.

        :raises FadumpError: nobody is left who could run it.
        """

    def wait(self, seconds: float) -> Sequence[Ended]:
        """The jobs that have ended since they were last asked for, at least one unless none has within ``seconds``.

        :raises FadumpError: the pool has failed.
        """


class Room:
    """How many jobs a computer takes at a time: by their number, and by their memory."""

    def __init__(self, slots: int, memory_bytes: int) -> None:
        self.slots = slots
        self._memory_bytes = memory_bytes * _SHARE

    def takes(self, running: Sequence[Job], job: Job) -> bool:
        """Whether ``job`` finds room beside those that run. One alone always does: it says itself what it lacks."""
        if not running:
            return True
        needed = sum(other.memory_bytes for other in running) + job.memory_bytes
        return len(running) < self.slots and needed <= self._memory_bytes


class LocalPool:
    """Jobs on this computer, each in a process of its own, which a thread waits for."""

    def __init__(self, slots: int | None = None) -> None:
        """``slots`` None: as many as there are processors for us."""
        self._room = Room(slots or len(os.sched_getaffinity(0)), available_bytes())
        self._running: dict[int, Job] = {}
        self._threads: list[threading.Thread] = []
        self._ended: queue.SimpleQueue[Ended | BaseException] = queue.SimpleQueue()
        self._is_closing = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_closing.set()
        for thread in self._threads:
            thread.join()

    def start(self, job: Job) -> bool:
        if not self._room.takes([*self._running.values()], job):
            return False
        self._running[job.number] = job
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        thread = threading.Thread(target=self._execute, args=(job,))
        with held():  # the thread waits for what start() has locked
            thread.start()
        self._threads.append(thread)  # a signal before this leaves it to Python, which waits for it at its end
        return True

    def wait(self, seconds: float) -> Sequence[Ended]:
        ended = []
        with suppress(queue.Empty):
            ended.append(self._ended.get(timeout=seconds))
            while True:
                ended.append(self._ended.get_nowait())
        for outcome in ended:
            if isinstance(outcome, BaseException):
                raise outcome
            del self._running[outcome.job.number]
        return [outcome for outcome in ended if isinstance(outcome, Ended)]

    def _execute(self, job: Job) -> None:
        try:
            self._ended.put(Ended(job, execute(job, self._is_closing.is_set)))
        except BaseException as error:  # noqa: BLE001 - wait() raises it, whatever it is
            self._ended.put(error)
