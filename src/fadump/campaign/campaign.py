"""The campaign itself: jobs to a pool, runs to the results, until there is nothing left to run."""

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Protocol

from fadump.campaign.job import Job
from fadump.campaign.outcome import Cost, Outcome, Run
from fadump.campaign.pool import Ended, Pool
from fadump.campaign.results import Results

MOST_LOST = 3
"""How many workers may be lost with a run before it is taken to be the reason."""
_LOOK_SECONDS = 1.0


class CampaignObserver(Protocol):
    """Is told how far a campaign is."""

    def started(self, job: Job) -> None:
        """A run has begun, or begins again."""

    def ended(self, job: Job, run: Run) -> None:
        """A run has ended, and is kept."""

    def lost(self, job: Job, why: str) -> None:
        """Whoever ran a job is lost: it is run again."""

    def waiting(self) -> None:
        """Called about once in a second."""


def run_campaign(jobs: Sequence[Job], results: Results, pool: Pool, observer: CampaignObserver) -> Mapping[int, Run]:
    """Run all jobs that ``results`` has no final run of; all runs, by their number.

    :raises DiskError: the results can't be written.
    :raises FadumpError: the pool has failed. What has ended by then is kept.
    """
    runs = results.runs()
    waiting = deque(job for job in jobs if job.number not in runs or not runs[job.number].outcome.is_final)
    lost: Counter[int] = Counter()
    running = 0
    while waiting or running:
        while waiting and pool.start(waiting[0]):
            observer.started(waiting.popleft())
            running += 1
        for ended in pool.wait(_LOOK_SECONDS):
            running -= 1
            job, run = ended.job, ended.run
            if run is None:
                lost[job.number] += 1
                if lost[job.number] < MOST_LOST:
                    observer.lost(job, ended.why)
                    waiting.appendleft(job)
                    continue
                run = _given_up(ended)
            results.add(job.number, run)
            runs[job.number] = run
            observer.ended(job, run)
        observer.waiting()
    return runs


def _given_up(ended: Ended) -> Run:
    error = f"{MOST_LOST} workers were lost with this run, the last one: {ended.why}"
    return Run(Outcome.BROKEN, None, error, None, Cost(), "", datetime.now(UTC).isoformat(timespec="seconds"))
