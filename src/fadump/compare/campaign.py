"""``fadump compare``: run configurations on real Linux and on the model, and collect the differences.

Each worker is a thread with its own QEMU, which ends with the thread. The threads are daemons, so that an interruption
does not wait for them.
"""

import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from fadump.compare.configuration import Configuration
from fadump.compare.differences import Compared, Difference, Explanation, compare
from fadump.compare.explained import EXPLANATIONS
from fadump.compare.model_side import see_model
from fadump.compare.seen import FIRST_BOOT, Seen
from fadump.compare.store import Store
from fadump.errors import FadumpError, SetupError
from fadump.signals import held


@dataclass(frozen=True, slots=True)
class Subject:
    """A configuration, the kernel's name, and a function that runs it on real Linux."""

    configuration: Configuration
    kernel: str
    see: Callable[[], Seen]


@dataclass(frozen=True, slots=True)
class Judged:
    """A compared configuration, or the ``failure`` that prevented the comparison; it has taken so many ``seconds``."""

    configuration: Configuration
    linux: Seen | None = None
    compared: Compared = field(default_factory=lambda: Compared((), ()))
    failure: str = ""
    seconds: float = 0.0


@dataclass(slots=True)
class Result:
    """All configurations, in the order of the set."""

    judged: Sequence[Judged]

    @property
    def differences(self) -> list[Difference]:
        """The differences without an explanation."""
        return [difference for judged in self.judged for difference in judged.compared.differences]

    @property
    def explained(self) -> Mapping[Explanation, list[Difference]]:
        """The other differences, by their explanation."""
        found: dict[Explanation, list[Difference]] = {}
        for judged in self.judged:
            for difference, explanation in judged.compared.explained:
                found.setdefault(explanation, []).append(difference)
        return found

    @property
    def failures(self) -> list[Judged]:
        """Configurations that could not be compared."""
        return [judged for judged in self.judged if judged.failure]

    @property
    def reservations(self) -> int:
        """How many different memory areas real Linux has reserved."""
        return len({area for judged in self.judged if (area := reservation_of(judged.linux)) is not None})

    @property
    def crashed(self) -> int:
        """How many configurations crashed."""
        return sum(judged.linux is not None and judged.linux.crashed for judged in self.judged)

    @property
    def good(self) -> bool:
        """Whether all were compared, and every difference has an explanation."""
        return not self.differences and not self.failures


def reservation_of(linux: Seen | None) -> tuple[str, str] | None:
    """The address and size of Linux's reserved area, by its log; None if it has none."""
    if linux is None:
        return None
    answers = next(moment.answers for moment in linux.moments if moment.name == FIRST_BOOT)
    placed = [line for line in answers["messages"].split("\n") if "fadump: Reserved " in line]
    if not placed:
        return None
    return placed[0], answers["read /sys/kernel/fadump/mem_reserved"]


def run(subjects: Sequence[Subject], store: Store, jobs: int, done: Callable[[Judged], None]) -> Result:
    """Judge every subject, ``jobs`` at a time; ``done`` is called with each, in this thread.

    :raises SetupError: something is missing that all need.
    """
    waiting = queue.SimpleQueue[Subject]()
    finished = queue.SimpleQueue[tuple[Subject, Judged | BaseException]]()
    for subject in subjects:
        waiting.put(subject)
    for _job in range(min(jobs, len(subjects))):
        with held():
            threading.Thread(target=_work, args=(waiting, finished, store), daemon=True).start()
    judged = {}
    for _subject in subjects:
        subject, outcome = finished.get()
        if not isinstance(outcome, Judged):
            raise outcome
        judged[subject.configuration] = outcome
        done(outcome)
    return Result([judged[subject.configuration] for subject in subjects])


def _work(
    waiting: "queue.SimpleQueue[Subject]",
    finished: "queue.SimpleQueue[tuple[Subject, Judged | BaseException]]",
    store: Store,
) -> None:
    while True:
        try:
            subject = waiting.get_nowait()
        except queue.Empty:
            return
        began = time.monotonic()
        try:
            judged = judge(subject, store)
            finished.put((subject, replace(judged, seconds=time.monotonic() - began)))
        except BaseException as error:  # noqa: BLE001 - run() waits for it, whatever it is
            finished.put((subject, error))
            return


def judge(subject: Subject, store: Store) -> Judged:
    """Compare one; a guest that does not boot is a failure of this configuration only.

    :raises SetupError: something is missing that all need.
    """
    configuration = subject.configuration
    linux = store.load(configuration, subject.kernel)
    try:
        if linux is None:
            linux = subject.see()
            store.save(configuration, subject.kernel, linux)
        model = see_model(configuration, linux)
    except SetupError:
        raise
    except FadumpError as error:
        return Judged(configuration, linux, failure=f"{error}; the console is in {store.console_path(configuration)}")
    return Judged(configuration, linux, compare(configuration, linux.moments, model, EXPLANATIONS))
