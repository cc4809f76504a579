"""Plans, jobs and runs as tests need them."""

from fadump.campaign.job import Job
from fadump.campaign.outcome import Cost, Outcome, Run
from fadump.campaign.results import Plan, Planned

LOSING = ["run", "--memory=1G", "--fault=registers=no-end"]
SAVING = ["run", "--memory=1G"]


def job(number=1, words=SAVING, *, timeout_seconds=300.0, artifacts=(), program=None):
    return Job(number, words, artifacts, timeout_seconds, 1 << 28, program)


def run(outcome=Outcome.SAVED, error=None, files=None):
    return Run(outcome, 0, error, None, Cost(4.0, 2.5, 1 << 28), "host", "2026-11-30T00:00:00+00:00", files or {})


def plan(*titles, artifacts=(), name="some"):
    """A plan of cases that have one factor, a memory size."""
    cases = [
        Planned(number, {"memory": (title,)}, ["run", f"--memory={title}"]) for number, title in enumerate(titles, 1)
    ]
    return Plan(name, "0", cases, artifacts)
