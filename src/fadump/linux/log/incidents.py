"""What the log tells of trouble before the end: hung tasks, lockups, stalls, and processes killed for their memory.

Linux: check_hung_task() in kernel/hung_task.c; watchdog_timer_fn() and watchdog_hardlockup_check() in
kernel/watchdog.c, arch/powerpc/kernel/watchdog.c; kernel/rcu/tree_stall.h; dump_header() and __oom_kill_process() in
mm/oom_kill.c. Only the kernel's own messages count, as a program can write any other.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from fadump.limits import MOST_INCIDENTS
from fadump.linux.log.record import LogRecord

_KERNEL_FACILITY = 0


class IncidentKind(StrEnum):
    """What kind of trouble it was."""

    HUNG_TASK = "hung task"
    SOFT_LOCKUP = "soft lockup"
    HARD_LOCKUP = "hard lockup"
    RCU_STALL = "RCU stall"
    OUT_OF_MEMORY = "out of memory"
    OOM_KILL = "killed for its memory"


@dataclass(frozen=True, slots=True)
class Incident:
    """One message of trouble. ``text`` is its first line.

    What it says of a task, a CPU (of several, the first) and how long that had lasted is in the rest; None is what it
    doesn't say. ``owner`` is the task that holds what a hung one waits for, by name and number, if the kernel says it.
    """

    kind: IncidentKind
    timestamp_ns: int | None
    text: str
    task: str | None = None
    pid: int | None = None
    cpu: int | None = None
    seconds: int | None = None
    owner: str | None = None
    owner_pid: int | None = None


@dataclass(frozen=True, slots=True)
class Incidents:
    """All of them, the oldest first; of very many, the first ones, and how many were ``left_out``."""

    incidents: tuple[Incident, ...]
    left_out: int = 0


_NAME = r"(?P<task>.{1,64}?)"
_PATTERNS: Mapping[IncidentKind, tuple[re.Pattern[str], ...]] = MappingProxyType(
    {
        IncidentKind.HUNG_TASK: (
            re.compile(
                rf"INFO: task {_NAME}:(?P<pid>\d+) blocked (?:in I/O wait )?for more than (?P<seconds>\d+) seconds"
            ),
            re.compile(
                rf"INFO: task {_NAME}:(?P<pid>\d+)(?: <\w+>)? (?:is )?blocked on an? .{{1,40}}? (?:likely )?(?:last )?"
                r"(?:held|owned) by(?: task)? (?P<owner>.{1,64}?):(?P<owner_pid>\d+)"
            ),
        ),
        IncidentKind.SOFT_LOCKUP: (
            re.compile(
                r"(?:(?:NMI )?watchdog: )?BUG: soft lockup - CPU#(?P<cpu>\d+) stuck for (?P<seconds>\d+)s!"
                rf"(?: \[{_NAME}:(?P<pid>\d+)\])?"
            ),
        ),
        IncidentKind.HARD_LOCKUP: (
            re.compile(r"watchdog: CPU \d+ detected hard LOCKUP on other CPUs (?P<cpu>\d+)"),
            re.compile(r"watchdog: CPU (?P<cpu>\d+) self-detected hard LOCKUP"),
            re.compile(r"(?:(?:NMI )?watchdog: )?(?:CPU\d+: )?Watchdog detected hard LOCKUP on cpu (?P<cpu>\d+)"),
        ),
        IncidentKind.RCU_STALL: (re.compile(r"(?:rcu: )?INFO: rcu\w* (?:self-)?detected (?:expedited )?stalls?"),),
        IncidentKind.OUT_OF_MEMORY: (re.compile(rf"{_NAME} invoked oom-killer: "),),
        IncidentKind.OOM_KILL: (
            re.compile(
                r"(?:(?:Memory cgroup out|Out) of memory[^:]{0,40}: )?Kill(?:ed)? process (?P<pid>\d+),? "
                r"(?:UID \d+, )?\((?P<task>.{1,64}?)\)"
            ),
        ),
    }
)
"""How each begins; names are told as far as a message has them."""
_NUMBERS = ("pid", "cpu", "seconds", "owner_pid")
_MOST_DIGITS = 18


def find_incidents(log: Iterable[LogRecord]) -> Incidents:
    """The trouble that a log tells of."""
    found: list[Incident] = []
    left_out = 0
    for record in log:
        incident = _incident(record) if record.facility == _KERNEL_FACILITY else None
        if incident is None:
            continue
        if len(found) < MOST_INCIDENTS:
            found.append(incident)
        else:
            left_out += 1
    return Incidents(tuple(found), left_out)


def _incident(record: LogRecord) -> Incident | None:
    text = (record.text or "").partition("\n")[0]
    for kind, patterns in _PATTERNS.items():
        for pattern in patterns:
            match = pattern.match(text)
            if match is not None:
                said = match.groupdict()
                numbers = {name: int(said[name][:_MOST_DIGITS]) for name in _NUMBERS if said.get(name)}
                return Incident(
                    kind, record.timestamp_ns, text, task=said.get("task"), owner=said.get("owner"), **numbers
                )
    return None
