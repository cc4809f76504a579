"""A Dask cluster's workers as a pool: what they lack is found out, and sent, before they are given a run.

Which worker runs what is decided here, as a worker may have another fadump, no QEMU or too little memory; Dask carries
jobs there and runs back, and tells which workers there are. A run whose worker is gone is a lost one.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import astuple
from types import TracebackType
from typing import Any, Self

import cloudpickle
import distributed
from distributed import Client, Future

from fadump.campaign import probe
from fadump.campaign.execute import execute
from fadump.campaign.job import Artifact, Job
from fadump.campaign.outcome import Run
from fadump.campaign.pool import Ended, Room
from fadump.campaign.worker import Look, receive, sources_hash
from fadump.errors import MachineError, SetupError, reason
from fadump.printable import first_of

_CONNECT_SECONDS = 10.0
_ANSWER_SECONDS = 60.0
_PAUSE_SECONDS = 1.0
_ERRORS = (Exception, asyncio.CancelledError)
"""What Dask raises, as its own types and those of its transports and of pickle."""
_CLOSE_SECONDS = 5.0
_REFRESH_SECONDS = 1.0
_MOST_WITHOUT_WORKERS_SECONDS = 60.0
_BETWEEN_TRIES_SECONDS = 60.0
"""When a worker that could not be used is looked at again."""


class _Worker:
    """A worker that can be given runs."""

    def __init__(self, slots: int, memory_bytes: int) -> None:
        self.room = Room(slots, memory_bytes)
        self.running: dict[int, tuple[Job, Future]] = {}

    @property
    def jobs(self) -> list[Job]:
        return [job for job, _future in self.running.values()]


class ClusterPool:
    """Jobs on the workers of a scheduler."""

    def __init__(self, address: str, jobs: Sequence[Job], say: Callable[[str], None]) -> None:
        """``jobs`` are all that may come, which say what a worker must have; ``say`` is told of those that lack it.

        :raises SetupError: there is no such scheduler, no Dask, or no worker that can run them; it says why.
        """
        self._address = address
        self._say = say
        self._programs = sorted({job.program for job in jobs if job.program is not None})
        self._artifacts = sorted({artifact for job in jobs for artifact in job.artifacts}, key=lambda each: each.path)
        self._client = _connected(address)
        self._workers: dict[str, _Worker] = {}
        self._refused: dict[str, tuple[str, float]] = {}
        self._lost: list[Ended] = []
        self._never = threading.Event()
        self._refreshed = self._had_workers = time.monotonic()
        try:
            self._refresh()
            self._check_workers()
        except BaseException:
            self._close()
            raise

    def _check_workers(self) -> None:
        if not self._workers:
            why = self._refusals()
            raise SetupError(f"no worker of the scheduler at {self._address} can run this campaign: {why}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(*_ERRORS):  # the scheduler may be gone
            self._client.cancel(
                [future for worker in self._workers.values() for _job, future in worker.running.values()]
            )
        self._close()

    def _close(self) -> None:
        with suppress(*_ERRORS):  # what has gone wrong before is what matters
            self._client.close(timeout=_CLOSE_SECONDS)

    def start(self, job: Job) -> bool:
        for address, worker in self._workers.items():
            if len(worker.running) < worker.room.slots and worker.room.takes(worker.jobs, job):
                with self._scheduler_there():
                    future = self._client.submit(execute, job, pure=False, workers=[address], retries=0)
                worker.running[job.number] = job, future
                return True
        return False

    def wait(self, seconds: float) -> Sequence[Ended]:
        deadline = time.monotonic() + seconds
        while True:
            if time.monotonic() - self._refreshed > _REFRESH_SECONDS:
                self._refresh()
            ended, self._lost = [*self._lost, *self._collected()], []
            if ended or time.monotonic() >= deadline:
                return ended
            self._pause()

    def _pause(self) -> None:
        """Wait until a run has ended, but not for long: a worker may be lost meanwhile."""
        futures = [future for worker in self._workers.values() for _job, future in worker.running.values()]
        if not futures:
            self._never.wait(_PAUSE_SECONDS)
            return
        with suppress(*_ERRORS):
            distributed.wait(futures, timeout=_PAUSE_SECONDS, return_when="FIRST_COMPLETED")

    def _collected(self) -> Iterator[Ended]:
        for address, worker in list(self._workers.items()):
            for number, (job, future) in list(worker.running.items()):
                if future.status == "pending":
                    continue
                del worker.running[number]
                yield self._outcome(address, job, future)

    def _outcome(self, address: str, job: Job, future: Future) -> Ended:
        """What has become of a future that isn't pending; its worker may be lost before it has given its result."""
        try:
            run = future.result(timeout=_ANSWER_SECONDS)
        except _ERRORS as error:
            return Ended(job, None, f"the worker at {address} has given no result: {_told(error)}")
        if not isinstance(run, Run):
            return Ended(job, None, f"the worker at {address} has given something else than a result")
        return Ended(job, run)

    def _refresh(self) -> None:
        """Find workers that are new, and those that are lost.

        :raises MachineError: the scheduler is gone, or no worker is left.
        """
        with self._scheduler_there():
            threads = self._client.nthreads()
        now = self._refreshed = time.monotonic()
        for address in self._workers.keys() - threads.keys():
            for job, future in self._workers.pop(address).running.values():
                future.release()
                self._lost.append(Ended(job, None, f"the worker at {address} is lost"))
        new = {
            address: count
            for address, count in threads.items()
            if address not in self._workers and now >= self._refused.get(address, ("", 0.0))[1]
        }
        if new:
            self._admit(new)
        if self._workers:
            self._had_workers = time.monotonic()
        elif time.monotonic() - self._had_workers > _MOST_WITHOUT_WORKERS_SECONDS:
            raise MachineError(
                f"the scheduler at {self._address} has had no worker for {_MOST_WITHOUT_WORKERS_SECONDS:.0f} seconds "
                f"that can run this campaign ({self._refusals()}): what has ended is kept; start workers, and run it "
                "again"
            )

    def _admit(self, threads: Mapping[str, int]) -> None:
        """Look at workers, and send what they lack."""
        fields = [astuple(artifact) for artifact in self._artifacts]
        answers = self._ask(probe.look, sources_hash(), self._programs, fields, workers=[*threads])
        for address, answer in answers.items():
            found = Look(*answer) if isinstance(answer, tuple) else Look(f"it doesn't answer: {_told(answer)}", "")
            lacks = found.lacks
            for number in found.missing:
                lacks = lacks or self._send(self._artifacts[number], address)
            if lacks is None:
                self._workers[address] = _Worker(threads[address], found.memory_bytes)
                self._refused.pop(address, None)
            else:
                host = f" on {found.host}" if found.host else ""
                sentence = f"the worker at {address}{host} is not used: {lacks}"
                if address not in self._refused:
                    self._say(sentence)
                self._refused[address] = sentence, time.monotonic() + _BETWEEN_TRIES_SECONDS

    def _send(self, artifact: Artifact, address: str) -> str | None:
        """Send a file to one worker; what is wrong, None: nothing. Its computer's other workers find it there."""
        if self._has(artifact, address):
            return None
        for offset, data in artifact.pieces():
            answer = self._ask(receive, artifact, offset, data, workers=[address]).get(address, "it is lost")
            if answer is not None:
                return f"it can't be sent {artifact.path}: {_told(answer)}"
        return None

    def _has(self, artifact: Artifact, address: str) -> bool:
        answer = self._ask(probe.look, sources_hash(), [], [astuple(artifact)], workers=[address]).get(address)
        return isinstance(answer, tuple) and not Look(*answer).missing

    def _ask(self, function: object, *arguments: object, workers: list[str]) -> dict[str, Any]:
        with self._scheduler_there():
            answers = self._client.run(function, *arguments, workers=workers, on_error="return")
        return dict(answers)

    def _refusals(self) -> str:
        """Why workers are not used."""
        refusals = "; ".join(first_of(sentence for sentence, _until in self._refused.values()))
        return refusals or f"it has none: start one with 'dask worker {self._address}', and wait until it is there"

    @contextmanager
    def _scheduler_there(self) -> Iterator[None]:
        """What Dask raises within is that the scheduler is gone.

        :raises MachineError: in its place.
        """
        try:
            yield
        except _ERRORS as error:
            raise MachineError(
                f"the scheduler at {self._address} doesn't answer any more ({_told(error)}): what has ended is kept; "
                "start it and its workers, and run the campaign again"
            ) from error


def _connected(address: str) -> Client:
    for name in ("distributed", "distributed.client", "tornado"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what is wrong is said by us, in a sentence
    cloudpickle.register_pickle_by_value(probe)
    try:
        return Client(address, timeout=_CONNECT_SECONDS, name="fadump campaign")
    except (OSError, ValueError, TypeError) as error:
        raise SetupError(
            f"there is no Dask scheduler at {address} ({_told(error)}): start one, or name another"
        ) from error


def _told(error: object) -> str:
    """An error of a library as part of a sentence."""
    said = reason(error) if isinstance(error, Exception) else str(error) or type(error).__name__
    return " ".join(said.split())
