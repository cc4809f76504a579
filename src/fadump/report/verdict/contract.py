"""What a verdict is, and what it is found by."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from fadump.linux.cpus.cpu import Cpu
from fadump.linux.log.record import LogRecord
from fadump.linux.summary import Summary, cpu_name
from fadump.report.findings import Findings
from fadump.report.verdict.places import Place, place_of_crash

_MOST_BEFORE, _BEFORE_NS = 6, 1_000_000_000


class Certainty(Enum):
    """How sure a verdict is, in words."""

    CERTAIN = "certain"
    LIKELY = "likely"
    UNSURE = "a first suspicion"
    UNKNOWN = "not known"


@dataclass(frozen=True, slots=True)
class Verdict:
    """``what`` happened and ``where``; who is to ``blame``, None if that isn't known, and how sure that is.

    ``because`` has what it rests on, ``next_step`` where to look next.
    """

    what: str
    where: str
    blame: str | None
    certainty: Certainty
    because: Sequence[str]
    next_step: str
    at: int | None = None
    """The address in the function that is blamed, as on the stack that crashed."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What there is to judge by: ``cause`` and ``panic`` are empty if the log has none.

    ``texts`` are the kernel's messages from the first sign on, ``before`` those of the second before it.
    """

    findings: Findings
    cause: str
    panic: str
    texts: Sequence[str]
    before: Sequence[str]
    cpu: Cpu | None
    place: Place | None

    @property
    def summary(self) -> Summary:
        """What the dump says about the crash."""
        return self.findings.summary

    @property
    def where(self) -> str:
        """Where the kernel was when it crashed, in words."""
        where = [] if self.place is None else [f"in {self.place.name}"]
        where += [] if self.cpu is None else [f"on {cpu_name(self.cpu)}"]
        ending = self.summary.ending
        if ending is not None and ending.task is not None:
            where.append(f"while {ending.task.name} (PID {ending.task.pid}) ran")
        return ", ".join(where) or "not known"

    @property
    def from_log(self) -> list[str]:
        """What the log says, as a reason: the cause, else the panic."""
        if self.cause:
            return [f"the log says: {self.cause}"]
        return [f"the panic says: {self.panic}"] if self.panic else []

    def first(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """Where a pattern is found first, in what led to the end."""
        return next((found for text in self.texts if (found := pattern.search(text)) is not None), None)


def gather(findings: Findings) -> Evidence:
    """What findings have to judge by."""
    summary = findings.summary
    ending = summary.ending
    cpu = next((cpu for cpu in summary.cpus if cpu.crashed), None)
    before, texts = _around_sign(summary)
    cause = (ending.cause if ending is not None else None) or ""
    panic = (ending.panic if ending is not None else None) or ""
    return Evidence(findings, cause, panic, texts, before, cpu, place_of_crash(cpu, texts))


def _around_sign(summary: Summary) -> tuple[list[str], list[str]]:
    """The kernel's own messages just before the first sign of trouble, and those from it on."""
    end = summary.log_end
    if end is None:
        return [], []
    sign = end.first_sign or 0
    before = [
        record for record in end.records[max(0, sign - _MOST_BEFORE) : sign] if _is_near(record, end.records[sign])
    ]
    return _texts(before), _texts(end.records[sign:])


def _is_near(record: LogRecord, sign: LogRecord) -> bool:
    if record.timestamp_ns is None or sign.timestamp_ns is None:
        return True
    return sign.timestamp_ns - record.timestamp_ns <= _BEFORE_NS


def _texts(records: Sequence[LogRecord]) -> list[str]:
    return [record.text for record in records if record.text is not None and record.facility == 0]
