"""What the log says about the end: what crashed, and why.

After the last step of "follow one crash" in docs/architecture.md. Linux: panic() and print_oops_end_marker() in
kernel/panic.c; dump_stack_print_info() in lib/dump_stack.c.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from fadump.linux.log.record import LogRecord

_KERNEL_FACILITY = 0
"""LOG_KERN; what a program writes to /dev/kmsg has another one (devkmsg_write())."""
_PANIC = re.compile(r"Kernel panic - not syncing: (.*)")
_CAUSE = re.compile(
    r"BUG:|Oops:|kernel BUG at|Unable to handle kernel|(?:sysrq: )?SysRq ?: Trigger a crash|sysrq: Trigger a crash"
    r"|System Reset|(?:Severe )?Machine check|MCE: CPU\d+: machine check (?!.*\[Recovered\])"
    r"|Unrecoverable |Bad kernel stack pointer"
    r"|(?:NMI )?watchdog: .*(?i:lockup)|(?i:watchdog) CPU:.*(?i:lockup)"
)
"""How the first message of an error begins that can end a kernel. Each is looked for at a message's start."""
_SEQUEL = re.compile(r"Oops:")
"""A message that only follows up on a more specific one."""
_CAUSE_OF_PANIC = (
    (re.compile(r".*panic_on_warn set"), re.compile(r"WARNING: |BUG: |UBSAN: ")),
    (re.compile(r"RCU Stall"), re.compile(r"(?:rcu: )?INFO: rcu\w* .*stall")),
    (re.compile(r"hung_task: blocked tasks"), re.compile(r"INFO: task .* blocked (?:in I/O wait )?for more than")),
    (re.compile(r"softlockup: hung tasks"), re.compile(r"(?:(?:NMI )?watchdog: )?BUG: soft lockup")),
    (re.compile(r".*(?i:hard lockup)"), re.compile(r"(?:NMI )?(?i:watchdog)[: ].*(?i:hard lockup)")),
    (re.compile(r"(?i:out of memory)|System is deadlocked on memory"), re.compile(r".* invoked oom-killer: ")),
)
"""What panic() says, and how the message begins that then is the cause. These aren't causes of another panic: a kernel
lives on after most of them."""
_END_OF_CAUSE = "---[ end trace "
_TASK = re.compile(
    r"CPU: \d+ (?:UID: \d+ )?PID: (\d+) Comm: (.{0,64}?) (?:Kdump: loaded )?(?:Not tainted|Tainted:)"
    r"|Pid: (\d+), comm: (.{0,64}?) (?:Not tainted|Tainted:)"  # until v3.9, dump_stack() and show_regs()
    r"|TASK = [0-9a-f]+\[(\d+)\] '(.{0,64}?)' THREAD: "  # ppc64's show_regs(), until v5.2
)
"""A task's name is 15 bytes, four characters each if they are shown as escapes. Were it looked for without a limit, a
message of many beginnings would be searched to its end from each."""
_HARDWARE = re.compile(r"Hardware name: (.*)")
_MOST_RECORDS_OF_PANIC = 8
"""panic() logs the task that called it within so many records after its message."""


@dataclass(frozen=True, slots=True)
class EndingTask:
    """The thread that ran where the kernel crashed: its number and its name."""

    pid: int
    name: str


@dataclass(frozen=True, slots=True)
class Ending:
    """What the log says about the end. ``panic`` is panic()'s last message, None if it wasn't called.

    ``cause`` is the first message of the last error before that, of the panic's own kind if it has one. ``uptime_ns``
    is the time of the panic, or of the last message, in nanoseconds since boot; None if there is no message, or the
    kernel notes no time. ``hardware`` is the machine's name that the firmware gave to the kernel.
    """

    panic: str | None = None
    cause: str | None = None
    uptime_ns: int | None = None
    task: EndingTask | None = None
    hardware: str | None = None


def find_ending(log: Iterable[LogRecord]) -> Ending:
    """What a log says about the end, in the kernel's own messages: a program can write any other there."""
    story = _Story()
    for record in log:
        if record.facility == _KERNEL_FACILITY:
            story.add(record)
    return story.end if story.end is not None else story.so_far


class _Story:
    """The log up to some record. ``end`` is what the last panic was, once there has been one."""

    def __init__(self) -> None:
        self.so_far = Ending()
        self.end: Ending | None = None
        self._in_cause = False
        self._last: dict[re.Pattern[str], str] = {}
        """The last message of each kind that only a panic of that kind has as its cause."""
        self._left_of_panic = 0
        self._names_of_panic = Ending()

    def add(self, record: LogRecord) -> None:
        """The next record."""
        text = record.text or ""
        self.so_far = replace(_with_names(self.so_far, text), uptime_ns=record.timestamp_ns)
        self._after_panic(text)
        for _panic, cause in _CAUSE_OF_PANIC:
            if cause.match(text) is not None:
                self._last[cause] = _first_line(text)
        panic = _PANIC.match(text)
        if panic is not None:
            own = [self._last.get(cause) for says, cause in _CAUSE_OF_PANIC if says.match(panic[1])]
            self.end = replace(self.so_far, panic=panic[1], cause=next(filter(None, own), self.so_far.cause))
            self._in_cause = False
            self._left_of_panic, self._names_of_panic = _MOST_RECORDS_OF_PANIC, Ending()
        elif _END_OF_CAUSE in text:
            self._in_cause = False
        elif _CAUSE.match(text) is not None and not (self._in_cause and _SEQUEL.match(text)):
            self.so_far = replace(self.so_far, cause=_first_line(text), task=None)
            self._in_cause = True

    def _after_panic(self, text: str) -> None:
        """Take the task that panic() logs as its caller; without one, that of an earlier message stays."""
        if self.end is None or not self._left_of_panic:
            return
        self._left_of_panic -= 1
        known, named = self._names_of_panic, _with_names(self._names_of_panic, text)
        self._names_of_panic = known = replace(named, task=known.task or named.task)
        self.end = replace(self.end, task=known.task or self.end.task, hardware=known.hardware or self.end.hardware)


def _first_line(text: str) -> str:
    return text.partition("\n")[0]


def _with_names(ending: Ending, text: str) -> Ending:
    task, hardware = _TASK.search(text), _HARDWARE.search(text)
    names = [] if task is None else [group for group in task.groups() if group is not None]
    return replace(
        ending,
        task=EndingTask(int(names[0]), names[1]) if names else ending.task,
        hardware=ending.hardware if hardware is None else hardware[1].strip(),
    )
