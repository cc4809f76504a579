"""How far a campaign is, for people: a line for each run; :mod:`fadump.cli.campaign_table` is for terminals."""

import itertools
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping

from fadump.campaign.job import Job
from fadump.campaign.outcome import Outcome, Run
from fadump.look import Look
from fadump.printable import in_a_line
from fadump.progress import PLAIN_INTERVAL_SECONDS, SILENCE_SECONDS, Tone, duration
from fadump.reminder import Reminder

_MOST_FAILURES = 6


class CampaignView:
    """Counts runs, and tells of each that ends; ``titles`` are their values, by number."""

    def __init__(
        self,
        titles: Mapping[int, str],
        done: Mapping[int, Run],
        look: Look,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._titles = titles
        self._look = look
        self._began = clock()
        self.counts = Counter(run.outcome for run in done.values())
        self.before = len(done)
        self.ended_here = 0
        self.running: dict[int, float] = {}
        self.failures: deque[str] = deque(maxlen=_MOST_FAILURES)
        self._reminder = Reminder(self._remind, SILENCE_SECONDS, PLAIN_INTERVAL_SECONDS, clock)

    def started(self, job: Job) -> None:
        self.running[job.number] = self._clock()

    def ended(self, job: Job, run: Run) -> None:
        """Of a run that could not be tried before, the count stays."""
        del self.running[job.number]
        self.ended_here += 1
        self.counts[run.outcome] += 1
        line = f"{run.outcome}  {self._title(job)}{'' if run.error is None else f': {in_a_line(run.error)}'}"
        if not run.outcome.is_good:
            self.failures.append(line)
        self.say(f"{self.ended_here} of {self._here}  {line}", tone_of(run.outcome))

    def lost(self, job: Job, why: str) -> None:
        del self.running[job.number]
        self.say(f"{self._title(job)}: {in_a_line(why)}; it is run again")

    def waiting(self) -> None:
        """Say how far it is, if nothing has been said for a while."""
        self._reminder.look()

    def _remind(self) -> None:
        under_way = "".join(f"; {title}: {time_text}" for title, time_text in itertools.islice(self.longest(), 1))
        self._look.reached(f"{self.status()}{under_way}", self._clock() - self._began, Tone.NOTE)

    def say(self, line: str, tone: Tone = Tone.NOTE) -> None:
        """A line where nothing moves."""
        self._look.reached(line, self._clock() - self._began, tone)
        self._reminder.begin()

    @property
    def _here(self) -> int:
        return len(self._titles)

    def _title(self, job: Job) -> str:
        return f"run {job.number}: {in_a_line(self._titles[job.number])}"

    def status(self) -> str:
        """How many have ended, and how long the others may take."""
        left = self._here - self.ended_here
        told = f"{self.ended_here} of {self._here} runs"
        if self.ended_here and left:
            rate = (self._clock() - self._began) / self.ended_here
            told += f", about {duration(rate * left)} left"
        return told

    def longest(self) -> Iterator[tuple[str, str]]:
        """The runs that are under way, the longest first, each with its time."""
        now = self._clock()
        for number, since in sorted(self.running.items(), key=lambda item: item[1]):
            yield f"run {number}: {in_a_line(self._titles[number])}", duration(now - since)


def tone_of(outcome: Outcome) -> Tone:
    """How what has come of a run is told."""
    if outcome.is_good:
        return Tone.DONE
    return Tone.BAD if outcome.is_final else Tone.NOTE
