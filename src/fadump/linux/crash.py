"""What crashed, when and why: the crashed kernel's name, its clock, and what its log says about the end.

After the last step of "follow one crash" in docs/architecture.md. Linux: struct new_utsname in
include/uapi/linux/utsname.h; CRASHTIME, which crash_save_vmcoreinfo() adds to VMCOREINFO; panic() and
print_oops_end_marker() in kernel/panic.c; dump_stack_print_info() in lib/dump_stack.c.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import islice

from fadump.errors import AddressError, FormatError, ReadError
from fadump.linux.log import LogRecord
from fadump.linux.memory import KernelMemory
from fadump.linux.translate import TranslationError
from fadump.linux.vmcoreinfo import MissingFactError

_NAME_BYTES = 65
_NAMES = 6
_PANIC = re.compile(r"Kernel panic - not syncing: (.*)")
_CAUSE = re.compile(
    r"BUG:|Oops:|kernel BUG at|Unable to handle kernel|sysrq: Trigger a crash|System Reset|Machine check"
    r"|watchdog: .*(?i:lockup)|Out of memory and no killable|hung_task: blocked tasks"
)
_SEQUEL = re.compile(r"Oops:")
"""A message that only follows up on a more specific one."""
_END_OF_CAUSE = "---[ end trace "
_TASK = re.compile(
    r"CPU: \d+ (?:UID: \d+ )?PID: (\d+) Comm: (.*?) (?:Kdump: loaded )?(?:Not tainted|Tainted:)",
)
_HARDWARE = re.compile(r"Hardware name: (.*)")
_MOST_RECORDS_OF_PANIC = 8
"""panic() logs the task that called it within so many records after its message."""


@dataclass(frozen=True, slots=True)
class KernelName:
    """What uname(2) returned."""

    system: str
    node: str
    release: str
    version: str
    machine: str
    domain: str


@dataclass(frozen=True, slots=True)
class EndingTask:
    """The thread that ran where the kernel crashed: its number and its name."""

    pid: int
    name: str


@dataclass(frozen=True, slots=True)
class Ending:
    """What the log says about the end. ``panic`` is panic()'s message, None if it wasn't called.

    ``cause`` is the first message of the last error before that. ``uptime_ns`` is the time of the panic, or of the
    last message, in nanoseconds since boot; None if there is no message. ``hardware`` is the machine's name that the
    firmware gave to the kernel.
    """

    panic: str | None = None
    cause: str | None = None
    uptime_ns: int | None = None
    task: EndingTask | None = None
    hardware: str | None = None


def read_name(memory: KernelMemory) -> KernelName | None:
    """The kernel's name; None if VMCOREINFO doesn't say where it is, or it can't be read."""
    try:
        start = memory.facts.symbol("init_uts_ns") + memory.facts.offset("uts_namespace.name")
        raw = memory.read(start, _NAMES * _NAME_BYTES)
    except (MissingFactError, AddressError, TranslationError, ReadError):
        return None
    texts = [raw[at : at + _NAME_BYTES].partition(b"\0")[0] for at in range(0, len(raw), _NAME_BYTES)]
    return KernelName(*(text.decode("utf-8", "backslashreplace") for text in texts))


def crash_time(memory: KernelMemory) -> int | None:
    """Seconds since 1970, UTC, when the kernel saved its VMCOREINFO in order to crash; None if it didn't."""
    try:
        return memory.facts.plain_number("CRASHTIME")
    except (MissingFactError, FormatError):
        return None


def find_ending(log: Iterable[LogRecord]) -> Ending:
    """What a log says about the end."""
    records = iter(log)
    ending, in_cause = Ending(), False
    for record in records:
        text = record.text or ""
        ending = replace(_with_names(ending, text), uptime_ns=record.timestamp_ns)
        panic = _PANIC.search(text)
        if panic is not None:
            return _with_panic_task(replace(ending, panic=panic[1]), records)
        if _END_OF_CAUSE in text:
            in_cause = False
        elif _CAUSE.search(text) is not None and not (in_cause and _SEQUEL.match(text)):
            ending, in_cause = replace(ending, cause=text.partition("\n")[0], task=None), True
    return ending


def _with_panic_task(ending: Ending, records: Iterable[LogRecord]) -> Ending:
    """The same with the task that panic() logs as its caller; without one, that of an earlier message stays."""
    found = Ending()
    for record in islice(records, _MOST_RECORDS_OF_PANIC):
        named = _with_names(found, record.text or "")
        found = replace(named, task=found.task or named.task)
    return replace(ending, task=found.task or ending.task, hardware=found.hardware or ending.hardware)


def _with_names(ending: Ending, text: str) -> Ending:
    task, hardware = _TASK.search(text), _HARDWARE.search(text)
    return replace(
        ending,
        task=ending.task if task is None else EndingTask(int(task[1]), task[2]),
        hardware=ending.hardware if hardware is None else hardware[1].strip(),
    )
