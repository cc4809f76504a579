"""Who or what is to blame, by the log and the stack of the CPU that crashed, and how sure that is.

The words are those of Linux's messages: arch/powerpc/kernel/traps.c and arch/powerpc/mm/fault.c, kernel/panic.c,
kernel/watchdog.c, kernel/hung_task.c, kernel/rcu/tree_stall.h, mm/oom_kill.c. Nothing here is more than a first
opinion, and each says what it rests on.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from fadump.abi.linux.page_table import PAGE_OFFSET
from fadump.linux.cpus.backtrace import Frame
from fadump.linux.cpus.cpu import Cpu
from fadump.linux.log.end import LogEnd
from fadump.linux.summary import Summary, cpu_name

_FAULTS = {0x200, 0x300, 0x380, 0x400, 0x480, 0x600, 0x700}
_RESET = 0x100
_PLACE = r"(\S+?)\+0x[0-9a-f]+/0x[0-9a-f]+(?: \[([^\]\s]+)[^\]]*\])?"
_NIP = re.compile(rf"NIP \[([0-9a-f]{{1,16}})\] {_PLACE}")
_WARNED_AT = re.compile(rf"WARNING: .*? at (\S+:\d+) {_PLACE}")
_BUG_AT = re.compile(r"kernel BUG at (\S+)!")
_BLOCKED = re.compile(r"INFO: task (.{1,64}?):(\d+) blocked for more than (\d+) seconds")
_STUCK = re.compile(r"CPU#?:?\s?(\d+) (?:stuck for (\d+)s|.*(?i:lockup))(?:! \[(.{1,64}?):(\d+)\])?")
_MACHINERY = re.compile(
    r"crash_fadump|ppc_panic_.*|fadump_.*|\w*notifier_call_chain|v?panic|nmi_panic|__crash_kexec|crash_kexec|die"
    r"|__die|oops_end|_exception(?:_pkey)?|bad_page_fault|__bad_page_fault|dump_stack\w*|\w*check_panic_on_warn"
    r"|__warn\w*|warn_slowpath\w*|report_bug\w*|program_check_exception|\w*panic_on\w*"
)
"""What the kernel does in order to end: a function that has called these is told."""
_MEMORY_SPOILT = re.compile(r"(?i)corrupt|bad page|list_(?:add|del)|use-after-free|double free|poison|stack end")


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
class _Place:
    """A function, and its module if it isn't the kernel's own."""

    function: str
    module: str
    source: str
    at: int | None = None

    @property
    def name(self) -> str:
        return f"{self.function}() of the module {self.module}" if self.module else f"{self.function}()"


@dataclass(frozen=True, slots=True)
class _Evidence:
    summary: Summary
    cause: str
    panic: str
    texts: Sequence[str]
    cpu: Cpu | None
    place: _Place | None

    @property
    def where(self) -> str:
        where = [] if self.place is None else [f"in {self.place.name}"]
        where += [] if self.cpu is None else [f"on {cpu_name(self.cpu)}"]
        ending = self.summary.ending
        if ending is not None and ending.task is not None:
            where.append(f"while {ending.task.name} (PID {ending.task.pid}) ran")
        return ", ".join(where) or "not known"

    def first(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """Where a pattern is found first, in what led to the end."""
        return next((found for text in self.texts if (found := pattern.search(text)) is not None), None)


def judge(summary: Summary) -> Verdict:
    """A verdict by what a summary says."""
    ending = summary.ending
    cpu = next((cpu for cpu in summary.cpus if cpu.crashed), None)
    texts = [] if summary.log_end is None else _from_sign(summary.log_end)
    evidence = _Evidence(
        summary,
        (ending.cause if ending is not None else None) or "",
        (ending.panic if ending is not None else None) or "",
        texts,
        cpu,
        _place(cpu, texts),
    )
    for judgement in (_on_purpose, _hardware, _hung, _lockup, _out_of_memory, _init_died, _bug, _fault, _panic):
        verdict = judgement(evidence)
        if verdict is not None:
            return verdict
    return _unknown(evidence)


def _on_purpose(evidence: _Evidence) -> Verdict | None:
    if "Trigger a crash" in evidence.cause or "sysrq triggered crash" in evidence.panic:
        task = None if evidence.summary.ending is None else evidence.summary.ending.task
        by = "somebody at the console" if task is None else f"{task.name} (PID {task.pid})"
        because = [f"the log says: {evidence.cause or evidence.panic}"]
        what = "The system was crashed on purpose, by SysRq c"
        return Verdict(
            what, evidence.where, by, Certainty.CERTAIN, because, "Ask who did it; the kernel is not to blame."
        )
    return None


def _hardware(evidence: _Evidence) -> Verdict | None:
    trap = evidence.cpu.registers["trap"] if evidence.cpu is not None else 0
    if re.search(r"(?i)machine check|MCE", evidence.cause + evidence.panic) or trap == 0x200:
        because = [f"the log says: {evidence.cause}"] if evidence.cause else ["the CPU took a machine check interrupt"]
        step = "Look at the firmware's error log of that time, and at the messages before the first sign."
        return Verdict(
            "The processor reported a machine check", evidence.where, "the hardware", Certainty.LIKELY, because, step
        )
    if trap == _RESET and not evidence.panic and not evidence.cause:
        because = ["a CPU took a system reset interrupt (NMI), and the log has no error before it"]
        step = "Ask who asked for a dump: an operator, the management console, or the hypervisor."
        what = "A dump was asked for from outside, by a system reset interrupt"
        return Verdict(what, evidence.where, "an operator, or the platform", Certainty.LIKELY, because, step)
    return None


def _hung(evidence: _Evidence) -> Verdict | None:
    blocked = _BLOCKED.search(evidence.cause) or ("hung_task" in evidence.panic and evidence.first(_BLOCKED)) or None
    if blocked is None:
        return None
    name, pid, seconds = blocked.groups()
    waits = next(
        (group.waits_for for group in evidence.summary.stacks for task in group.tasks if str(task.pid) == pid), None
    )
    because = [f"the log says: {blocked[0]}"]
    if waits is not None:
        because.append(f"by its stack {name} waits for {waits}")
    return Verdict(
        f"A task was blocked for more than {seconds} seconds, and the kernel is set to panic then",
        f"in {name} (PID {pid})",
        None if waits is None else f"whatever keeps it waiting: {waits}",
        Certainty.UNKNOWN if waits is None else Certainty.UNSURE,
        because,
        "Look at the blocked tasks: who holds what they wait for, and does a server or a disk not answer?",
    )


def _lockup(evidence: _Evidence) -> Verdict | None:
    text = f"{evidence.cause}\n{evidence.panic}"
    if not re.search(r"(?i)lockup|rcu.*stall", text):
        return None
    stall = re.search(r"(?i)rcu.*stall", text) is not None
    stuck = _STUCK.search(text)
    because = [f"the log says: {evidence.cause or evidence.panic}"]
    where = evidence.where
    if stuck is not None:
        where = f"on CPU {stuck[1]}" + (f", in {stuck[3]} (PID {stuck[4]})" if stuck[3] else "")
    place = _of_nip(evidence.texts) or evidence.place
    if place is not None:
        because.append(f"the CPU was in {place.name}, {place.source}")
    return Verdict(
        "RCU waited too long for a CPU" if stall else "A CPU ran in the kernel for too long and did nothing else",
        where,
        None if place is None else place.name,
        Certainty.UNKNOWN if place is None else Certainty.UNSURE,
        because,
        "Look at the stacks of all CPUs: does one spin on a lock that another holds? Was the hypervisor overcommitted?",
    )


def _out_of_memory(evidence: _Evidence) -> Verdict | None:
    if not re.search(r"(?i)out of memory|deadlocked on memory", evidence.panic):
        return None
    because = [f"the panic says: {evidence.panic}"]
    if evidence.cause:
        because.append(f"the log says: {evidence.cause}")
    largest = max(evidence.summary.tasks or (), key=lambda task: task.resident_bytes or 0, default=None)
    blame = None
    if largest is not None and largest.resident_bytes:
        blame = f"{largest.name} (PID {largest.process}) has the most memory"
        because.append(f"{largest.name} has {largest.resident_bytes >> 20:,} MiB resident, more than any other")
    return Verdict(
        "The system ran out of memory", evidence.where, blame,
        Certainty.UNKNOWN if blame is None else Certainty.UNSURE, because,
        "Look at the memory below: much of the kernel's is a leak in the kernel, much of users' one in a program.",
    )  # fmt: skip


def _init_died(evidence: _Evidence) -> Verdict | None:
    if "Attempted to kill init" in evidence.panic or "No working init" in evidence.panic:
        because = [f"the panic says: {evidence.panic}"]
        step = "Look at the log before it: a file system or a library that init needs may have gone."
        return Verdict("The first program, init, ended", evidence.where, "init", Certainty.LIKELY, because, step)
    if "Unable to mount root fs" in evidence.panic:
        because = [f"the panic says: {evidence.panic}"]
        step = "Look at root= on the command line, and whether the disk's driver is in the kernel or the initramfs."
        return Verdict(
            "The root file system was not found",
            evidence.where,
            "the boot configuration",
            Certainty.LIKELY,
            because,
            step,
        )
    return None


def _bug(evidence: _Evidence) -> Verdict | None:
    found = _BUG_AT.search(evidence.cause)
    warned = _WARNED_AT.search(evidence.cause) if "panic_on_warn" in evidence.panic else None
    if found is None and warned is None:
        return None
    at = found[1] if found is not None else warned[1] if warned is not None else ""
    place = evidence.place
    if warned is not None:
        place = _Place(warned[2], warned[3] or "", "by the log")
    what = f"The kernel stopped at a check of its own, at {at}" if found is not None else (
        f"The kernel warned at {at}, and is set to panic then"
    )  # fmt: skip
    because = [f"the log says: {evidence.cause}", *_rests_on(place)]
    return _with_blame(
        evidence, what, place, because, "Read the check at that line: what it tests has gone wrong before."
    )


def _fault(evidence: _Evidence) -> Verdict | None:
    trap = _fault_trap(evidence.cpu)
    text = evidence.cause
    if not re.search(r"Unable to handle|BUG:|Oops|Unrecoverable|Bad kernel stack|stack", text) and trap is None:
        return None
    null = re.search(r"NULL pointer|(?:at|address) 0x0{0,13}[0-9a-f]{1,3}\b", text) is not None
    what = (
        "The kernel followed a pointer that was NULL"
        if null
        else "The kernel executed an instruction that it must not" if trap == 0x700
        else "The kernel accessed memory that isn't there"
    )  # fmt: skip
    because = [*([f"the log says: {text}"] if text else []), *_rests_on(evidence.place)]
    return _with_blame(evidence, what, evidence.place, because, "Read that function: where does the pointer come from?")


def _panic(evidence: _Evidence) -> Verdict | None:
    if not evidence.panic:
        return None
    because = [f"the panic says: {evidence.panic}", *_rests_on(evidence.place)]
    what = f"The kernel gave up: {evidence.panic}"
    return _with_blame(
        evidence, what, evidence.place, because, "Read the log's end, and the function that called panic()."
    )


def _unknown(evidence: _Evidence) -> Verdict:
    because = ["the log has neither a panic nor an error"] if evidence.texts or evidence.summary.log_end else []
    because += [] if evidence.summary.log_end is not None else ["the dump has no log that can be read"]
    step = "Ask whether the platform or an operator ended it; look at what each CPU did."
    return Verdict("What ended the system isn't said", evidence.where, None, Certainty.UNKNOWN, because, step)


def _with_blame(evidence: _Evidence, what: str, place: _Place | None, because: list[str], next_step: str) -> Verdict:
    spoilt = _MEMORY_SPOILT.search("\n".join([evidence.cause, evidence.panic, *evidence.texts[:40]]))
    if place is None:
        return Verdict(what, evidence.where, None, Certainty.UNKNOWN, because, next_step)
    certainty = Certainty.LIKELY
    if spoilt is not None:
        certainty = Certainty.UNSURE
        because.append(f"memory may have been spoilt before, by somebody else: “{spoilt[0]}”")
    blame = f"the module {place.module}, in {place.function}()" if place.module else place.name
    return Verdict(what, evidence.where, blame, certainty, because, next_step, place.at)


def _rests_on(place: _Place | None) -> list[str]:
    return [] if place is None else [f"it happened in {place.name}, {place.source}"]


def _from_sign(end: LogEnd) -> list[str]:
    first = 0 if end.first_sign is None else end.first_sign
    return [record.text for record in end.records[first:] if record.text is not None and record.facility == 0]


def _fault_trap(cpu: Cpu | None) -> int | None:
    if cpu is None:
        return None
    traps = [cpu.registers["trap"], *(frame.trap for frame in cpu.backtrace.frames)]
    return next((trap for trap in traps if trap in _FAULTS), None)


def _place(cpu: Cpu | None, texts: Sequence[str]) -> _Place | None:
    """Where it went wrong: what was interrupted by a fault, or who called panic()."""
    of_log = _of_nip(texts)
    if cpu is not None and not cpu.in_user_space:
        frames = [frame for frame in cpu.backtrace.frames if frame.symbol is not None and frame.pc >= PAGE_OFFSET]
        faulted = next((frame for frame in frames if frame.trap in _FAULTS), None)
        if cpu.registers["trap"] in _FAULTS and frames:
            faulted = frames[0]
        if faulted is not None:
            return _of_frame(faulted, "by the registers of its fault")
        if of_log is not None and not _MACHINERY.fullmatch(of_log.function):
            return of_log
        caller = next((frame for frame in frames if not _MACHINERY.fullmatch(_name(frame))), None)
        if caller is not None and caller is not frames[0]:
            return _of_frame(caller, "which is on the stack of the CPU that crashed")
    return of_log


def _of_nip(texts: Sequence[str]) -> _Place | None:
    found = next((match for text in texts if (match := _NIP.search(text)) is not None), None)
    return None if found is None else _Place(found[2], found[3] or "", "by the registers in the log", int(found[1], 16))


def _of_frame(frame: Frame, source: str) -> _Place:
    return _Place(_name(frame), "" if frame.symbol is None else frame.symbol.module, source, frame.pc)


def _name(frame: Frame) -> str:
    return "" if frame.symbol is None else frame.symbol.name
