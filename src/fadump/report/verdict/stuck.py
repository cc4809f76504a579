"""What doesn't go on: a task that waits, a CPU that does nothing else any more, and RCU that waits for one."""

import re
from collections.abc import Iterator

from fadump.linux.cpus.cpu import Cpu
from fadump.linux.state.task_stacks import StackGroup
from fadump.linux.state.tasks import Task
from fadump.report.verdict.contract import Certainty, Evidence, Verdict
from fadump.report.verdict.places import Place, place_of_interrupted, place_of_log, place_of_waiting

_BLOCKED = re.compile(r"INFO: task (.{1,64}?):(\d+) blocked (?:in I/O wait )?for more than (\d+) seconds")
_OWNER = re.compile(r"INFO: task .{1,64}?:(\d+) .{0,60}(?:held|owned) by(?: task)? (.{1,64}?):(\d+)")
_STUCK = (
    re.compile(r"CPU#(?P<cpu>\d+) stuck for \d+s!(?: \[(?P<task>.{1,64}?):(?P<pid>\d+)\])?"),
    re.compile(r"CPU \d+ detected hard LOCKUP on other CPUs (?P<cpu>\d+)"),
    re.compile(r"CPU (?P<cpu>\d+) self-detected hard LOCKUP"),
    re.compile(r"(?i)hard LOCKUP on cpu (?P<cpu>\d+)"),
)
_STALLED = re.compile(r"rcu:\s+(?P<cpu>\d+)-\S*:")
_SHARED = re.compile(r"a (?:mutex|bit|.*semaphore.*)|I/O|a completion|a page that.*|a buffer that.*")
"""What a task waits for whose holder waits for something else, maybe."""
_MOST_OTHERS = 4


def of_hung_task(evidence: Evidence) -> Verdict | None:
    """A task that waited longer than the kernel lets it."""
    blocked = _BLOCKED.search(evidence.cause) or ("hung_task" in evidence.panic and evidence.first(_BLOCKED)) or None
    if blocked is None:
        return None
    name, pid, seconds = blocked.groups()
    what = f"A task was blocked for more than {seconds} seconds, and the kernel is set to panic then"
    where, because = f"in {name} (PID {pid})", [f"the log says: {blocked[0]}"]
    step = "Look at the blocked tasks: who holds what they wait for, and does a server or a disk not answer?"
    group = next((group for group, task in _tasks(evidence) if str(task.pid) == pid), None)
    place = None if group is None else place_of_waiting(group.backtrace.frames, "which is on its stack")
    waits_for = None if group is None else group.waits_for
    if place is not None:
        where = f"in {place.name}, in {name} (PID {pid})"
        because.append(f"it waits in {place.name}, {place.source}")
    if waits_for is not None:
        because.append(f"by its stack {name} waits for {waits_for}")
    holder = _holder(evidence, pid, waits_for)
    if holder is not None:
        because.append(f"what may keep it waiting: {holder}")
    blame = holder or _kept_by(waits_for, place)
    certainty = Certainty.UNKNOWN if blame is None else Certainty.UNSURE
    return Verdict(what, where, blame, certainty, because, step, None if place is None else place.at)


def _kept_by(waits_for: str | None, place: Place | None) -> str | None:
    if place is not None and place.module and (waits_for is None or _SHARED.fullmatch(waits_for)):
        return place.culprit
    if waits_for is not None:
        return f"whatever keeps it waiting: {waits_for}"
    return None if place is None else place.culprit


def _holder(evidence: Evidence, pid: str, waits_for: str | None) -> str | None:
    """Who holds what a task waits for, by the log; else the others that wait for somebody outside."""
    said = (found for text in evidence.texts if (found := _OWNER.search(text)) is not None)
    owner = next((found for found in said if found[1] == pid), None)
    waiting = [(task, group.waits_for) for group, task in _tasks(evidence) if group.waits_for is not None]
    if owner is not None:
        waits = next((f", which waits for {thing}" for task, thing in waiting if str(task.pid) == owner[3]), "")
        return f"{owner[2]} (PID {owner[3]}){waits}"
    if waits_for is None or not _SHARED.fullmatch(waits_for):
        return None
    outside = [(task, thing) for task, thing in waiting if not _SHARED.fullmatch(thing or "") and str(task.pid) != pid]
    others = [f"{task.name} (PID {task.pid}), which waits for {thing}" for task, thing in outside[:_MOST_OTHERS]]
    return ", ".join(others) or None


def _tasks(evidence: Evidence) -> Iterator[tuple[StackGroup, Task]]:
    return ((group, task) for group in evidence.summary.stacks for task in group.tasks)


def of_lockup(evidence: Evidence) -> Verdict | None:
    """A CPU that ran in the kernel for too long, by a watchdog or by RCU."""
    text = f"{evidence.cause}\n{evidence.panic}"
    if not re.search(r"(?i)lockup|rcu.*stall", text):
        return None
    is_stall = re.search(r"(?i)rcu.*stall", text) is not None
    stuck = evidence.first(_STALLED) if is_stall else next(filter(None, map(evidence.first, _STUCK)), None)
    because, where = evidence.from_log, evidence.where
    cpu = None if stuck is None else _cpu(evidence, int(stuck["cpu"]))
    place = place_of_log(evidence.texts) if cpu is None else place_of_interrupted(cpu, evidence.texts)
    if stuck is not None:
        task = None if cpu is None else evidence.summary.running_on(cpu)
        named = f"{task.name} (PID {task.pid})" if task is not None else _named(stuck)
        words = [f"in {place.name}"] if place is not None else []
        where = ", ".join([*words, f"on CPU {stuck['cpu']}", *([f"in {named}"] if named else [])])
    if place is not None:
        because.append(place.because)
    return Verdict(
        "RCU waited too long for a CPU" if is_stall else "A CPU ran in the kernel for too long and did nothing else",
        where,
        None if place is None else place.culprit,
        Certainty.UNKNOWN if place is None else Certainty.UNSURE,
        because,
        "Look at the stacks of all CPUs: does one spin on a lock that another holds? Was the hypervisor overcommitted?",
        None if place is None else place.at,
    )


def _named(stuck: re.Match[str]) -> str:
    found = stuck.groupdict()
    return f"{found['task']} (PID {found['pid']})" if found.get("task") else ""


def _cpu(evidence: Evidence, number: int) -> Cpu | None:
    return next((cpu for cpu in evidence.summary.cpus if cpu.number == number and not cpu.in_user_space), None)
