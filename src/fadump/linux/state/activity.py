"""What the crashed system was doing as a whole: command line, taint, uptime, load, and what each CPU had to run.

Linux: saved_command_line in init/main.c, tainted_mask in kernel/panic.c, avenrun in kernel/sched/loadavg.c, struct rq
in kernel/sched/sched.h. What isn't known is None, and named.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from fadump.errors import FormatError
from fadump.limits import MOST_STRING_BYTES
from fadump.linux.cpus.numbers import cpus_in
from fadump.linux.cpus.per_cpu import PerCpu
from fadump.linux.memory import UNREADABLE_ADDRESS, KernelMemory
from fadump.linux.state.taint import taint_letters, taint_words
from fadump.linux.state.tasks import Task, TaskReader
from fadump.linux.symbols.table import SymbolTable, UnknownSymbolError
from fadump.linux.types.contract import Types, UnknownTypeError
from fadump.linux.types.objects import PathError
from fadump.linux.types.structure import Structure
from fadump.printable import first_of

T = TypeVar("T")

_UNKNOWN = (*UNREADABLE_ADDRESS, UnknownSymbolError, UnknownTypeError, PathError, FormatError)
_LOAD_ONE = 1 << 11
"""FIXED_1, include/linux/sched/loadavg.h."""


@dataclass(frozen=True, slots=True)
class RunQueue:
    """What a CPU had to run: ``runnable`` tasks, ``current`` among them unless ``is_idle``."""

    cpu: int
    runnable: int
    current: Task | None
    is_idle: bool
    clock_ns: int


@dataclass(frozen=True, slots=True)
class Activity:
    """The system as a whole. ``load`` is over 1, 5 and 15 minutes; ``uptime_ns`` since boot, as the log's times are.

    ``taint`` are letters, ``taint_words`` say what each means. ``offline`` are CPUs that are present and not in use.
    ``unknown`` has a sentence for each thing that isn't known.
    """

    command_line: str | None
    taint: str | None
    taint_words: tuple[str, ...]
    uptime_ns: int | None
    load: tuple[float, float, float] | None
    online: tuple[int, ...]
    offline: tuple[int, ...]
    run_queues: tuple[RunQueue, ...]
    unknown: tuple[str, ...]

    @property
    def idle(self) -> tuple[int, ...]:
        """The CPUs that had nothing to run."""
        return tuple(queue.cpu for queue in self.run_queues if queue.is_idle)


def read_activity(
    memory: KernelMemory, symbols: SymbolTable, types: Types | None, tasks: TaskReader | None
) -> Activity:
    """All of it. Without ``types`` and ``tasks``, run queues and uptime aren't known."""
    unknown: list[str] = []

    def tried(what: str, read: Callable[[], T]) -> T | None:
        try:
            return read()
        except _UNKNOWN as error:
            unknown.append(f"{what}: {error}")
            return None

    mask = tried("taint", lambda: memory.word(symbols.address("tainted_mask")))
    queues = None
    if types is not None:
        queues = tried("run queues", lambda: _run_queues(memory, symbols, types, tasks, unknown))
    online = cpus_in("__cpu_online_mask", memory, symbols)
    present = cpus_in("__cpu_present_mask", memory, symbols)
    return Activity(
        command_line=tried("command line", lambda: _command_line(memory, symbols)),
        taint=None if mask is None else taint_letters(mask),
        taint_words=() if mask is None else tuple(taint_words(mask)),
        uptime_ns=max((queue.clock_ns for queue in queues or ()), default=None),
        load=tried("load", lambda: _load(memory, symbols)),
        online=tuple(online),
        offline=tuple(sorted(set(present) - set(online))),
        run_queues=tuple(queues or ()),
        unknown=tuple(first_of(unknown)),
    )


def _command_line(memory: KernelMemory, symbols: SymbolTable) -> str:
    """The one that the kernel keeps; boot_command_line is freed after boot."""
    text = memory.string(memory.word(symbols.address("saved_command_line")), MOST_STRING_BYTES)
    return text.decode("utf-8", "backslashreplace")


def _load(memory: KernelMemory, symbols: SymbolTable) -> tuple[float, float, float]:
    one, five, fifteen = (value / _LOAD_ONE for value in memory.unpack("3Q", symbols.address("avenrun")))
    return one, five, fifteen


def _run_queues(
    memory: KernelMemory, symbols: SymbolTable, types: Types, tasks: TaskReader | None, unknown: list[str]
) -> list[RunQueue]:
    members = {"runnable": "nr_running", "current": "curr", "idle": "idle", "clock": "clock"}
    queue = Structure(types, "rq", members)
    variable = symbols.address("runqueues")
    per_cpu = PerCpu(memory, symbols)
    found = []
    for cpu in per_cpu.cpus if per_cpu else ():
        try:
            values = queue.read(memory, per_cpu.address(variable, cpu))
            current = values.count("current")
            is_idle = current == values.number("idle")
            task = tasks.at(current) if tasks is not None and current and not is_idle else None
        except UNREADABLE_ADDRESS as error:
            unknown.append(f"run queue of CPU {cpu}: {error}")
            continue
        found.append(RunQueue(cpu, values.count("runnable"), task, is_idle, values.count("clock")))
    return found
