"""A summary of what a dump says about its crash: what ``fadump show`` prints.

Each part is read by itself, so that an unreadable one doesn't affect the others: :attr:`Summary.missing` has a
sentence for each of those.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

from fadump.errors import SetupError
from fadump.linux.cpus.cpu import Cpu, read_cpus, read_registers
from fadump.linux.cpus.numbers import online_cpus
from fadump.linux.kernel_name import KernelName
from fadump.linux.log.end import LogEnd
from fadump.linux.log.ending import Ending
from fadump.linux.memory import KernelMemory, is_of_power
from fadump.linux.opal import OpalCore, read_opal
from fadump.linux.pages.page_class import PageClass
from fadump.linux.state.task_stacks import StackGroup
from fadump.linux.state.tasks import Task
from fadump.linux.symbols.kallsyms import read_kallsyms
from fadump.linux.system import UNREADABLE_KERNEL, CrashedSystem
from fadump.memory.ranges import Range
from fadump.printable import first_of
from fadump.progress import binary_size
from fadump.vmcore.contract import Dump, State

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class MemoryRange:
    """A contiguous range of physical memory, and how many bytes of it are in each state."""

    range: Range
    bytes_in: Mapping[State, int]


@dataclass(frozen=True, slots=True)
class Summary:
    """What is known. What isn't is None or an empty sequence.

    ``format`` is the file's, ``crash_time`` in seconds since 1970, UTC. ``online`` is how many CPUs were online by the
    kernel's mask, however many registers there are. ``page_counts`` count pages in the dump's memory. ``erased`` is
    what makedumpfile wrote of the data that it has erased. ``running`` has the thread of each CPU, by the CPU's number,
    ``stacks`` has those of all tasks. ``wants_vmlinux`` says that tasks could be read with one. ``opal``: this is
    OPAL's core.
    """

    format: str
    machine: str
    memory: Sequence[MemoryRange]
    missing: Sequence[str]
    release: str | None = None
    kernel: KernelName | None = None
    page_bytes: int | None = None
    is_radix: bool | None = None
    crash_time: int | None = None
    log_end: LogEnd | None = None
    cpus: Sequence[Cpu] = ()
    online: int | None = None
    running: Mapping[int, Task] = field(default_factory=dict)
    tasks: Sequence[Task] | None = None
    stacks: Sequence[StackGroup] = ()
    wants_vmlinux: bool = False
    erased: str | None = None
    opal: OpalCore | None = None
    page_counts: Mapping[PageClass, int] | None = None

    @property
    def ending(self) -> Ending | None:
        """What the log says about the end."""
        return None if self.log_end is None else self.log_end.ending

    @property
    def mmu(self) -> str | None:
        """The kernel's MMU mode: "radix" or "hash"."""
        return None if self.is_radix is None else "radix" if self.is_radix else "hash"

    def running_on(self, cpu: Cpu) -> Task | None:
        """The thread that a CPU ran; None if that isn't known."""
        return None if cpu.number is None else self.running.get(cpu.number)

    def bytes_in(self, state: State) -> int:
        """How much of the memory is in a state."""
        return sum(range_.bytes_in[state] for range_ in self.memory)


def summarize(system: CrashedSystem) -> Summary:
    """Read everything. If the host lacks the library that unpacks pages, only that is reported as missing, once.

    :raises OSError: the file can't be read.
    """
    dump = system.dump
    attempts = _Attempts(list(first_of(map(str, dump.damage))))
    tried = attempts.tried
    format_ = f"{dump.kind}{', flattened' if dump.flattened else ''}"
    erased = None if dump.erase_info is None else dump.erase_info.decode("utf-8", "backslashreplace")
    summary = Summary(format_, dump.machine, tried("memory", lambda: _memory(dump)) or (), missing=(), erased=erased)
    lost_bytes = summary.bytes_in(State.MISSING)
    if lost_bytes:
        attempts.missing.append(f"{binary_size(lost_bytes)} of memory should be in the file and isn't")
    if dump.opal_entry is not None:
        opal = tried("processors", lambda: read_opal(dump))
        return replace(
            summary, opal=opal, cpus=() if opal is None else tuple(opal.cpus), missing=tuple(attempts.missing)
        )
    facts = tried("the kernel", lambda: system.vmcoreinfo)
    if facts is not None:
        summary = replace(
            summary,
            release=tried("release", lambda: facts.text("OSRELEASE")),
            page_bytes=tried("page size", facts.page_bytes),
        )
    memory = None if facts is None else tried("the kernel", lambda: system.memory)
    if memory is not None:
        summary = _with_kernel(summary, system, memory, attempts)
    elif is_of_power(dump):
        summary = replace(summary, cpus=tuple(tried("processors", lambda: read_registers(dump)) or ()))
    lacking = () if attempts.lacking is None else (attempts.lacking,)
    return replace(summary, missing=(*lacking, *attempts.missing))


def _with_kernel(summary: Summary, system: CrashedSystem, memory: KernelMemory, attempts: "_Attempts") -> Summary:
    """The same with what can be read from the kernel's memory."""
    tried = attempts.tried
    own = tried("vmlinux", lambda: system.symbols) if system.has_vmlinux else None
    symbols = own or tried("symbols", lambda: read_kallsyms(memory) if system.has_vmlinux else system.symbols)
    cpus = tried("processors", lambda: read_cpus(memory, symbols)) or ()
    if attempts.lacking is not None:
        cpus = tried("processors", lambda: read_registers(system.dump)) or ()
    attempts.missing += first_of(
        f"the backtrace of {cpu_name(cpu)} ends early: {cpu.backtrace.ended}"
        for cpu in cpus
        if cpu.backtrace.ended is not None
    )
    describes_types = symbols is not None and "__start_BTF" in symbols
    may_have_tasks = own is not None if system.has_vmlinux else describes_types
    tasks = tried("tasks", lambda: system.task_list) if may_have_tasks else None
    page_counts = _page_counts(system, attempts)
    running = (
        {} if tasks is None else _running(system, [cpu.number for cpu in cpus if cpu.number is not None], attempts)
    )
    stacks = None if tasks is None else tried("stacks", lambda: system.stacks)
    if tasks is not None:
        attempts.missing += first_of(tasks.left_out)
    return replace(
        summary,
        kernel=tried("name", lambda: system.kernel),
        crash_time=system.crash_time,
        is_radix=tried("MMU", lambda: memory.translation.is_radix),
        log_end=tried("log", lambda: system.log_end),
        cpus=tuple(cpus),
        online=len(online_cpus(memory, symbols)) or None,
        running=running,
        tasks=None if tasks is None else tasks.tasks,
        stacks=stacks or (),
        wants_vmlinux=not may_have_tasks and not system.has_vmlinux,
        page_counts=page_counts,
    )


def _page_counts(system: CrashedSystem, attempts: "_Attempts") -> Mapping[PageClass, int] | None:
    counts = attempts.tried("pages", lambda: system.page_classes.count(list(system.dump.memory)))
    if counts is None:
        return None
    if system.page_classes.free_unknown is not None:
        attempts.missing.append(f"free pages: {system.page_classes.free_unknown}")
    if counts[PageClass.UNKNOWN] == sum(counts.values()):
        attempts.missing.append("pages: the kernel's tables say where their structures are, but none can be read")
    return counts


def _running(system: CrashedSystem, numbers: Sequence[int], attempts: "_Attempts") -> Mapping[int, Task]:
    own = _Attempts([])
    found = {number: own.tried(f"task of CPU {number}", partial(system.running_task, number)) for number in numbers}
    attempts.missing += first_of(own.missing)
    return {number: task for number, task in found.items() if task is not None}


def cpu_name(cpu: Cpu) -> str:
    """The name of a CPU in output."""
    if cpu.number is not None:
        return f"CPU {cpu.number}"
    return "a CPU of unknown number" if cpu.pir is None else f"the CPU with PIR {cpu.pir:#x}"


class _Attempts:
    """Reads what can be read, and keeps a sentence for what can't."""

    def __init__(self, missing: list[str]) -> None:
        self.missing = missing
        self.lacking: str | None = None
        """The library that the host lacks, and how to get it."""

    def tried(self, what: str, read: Callable[[], T]) -> T | None:
        try:
            return read()
        except UNREADABLE_KERNEL as error:
            self.missing.append(f"{what}: {error}")
        except SetupError as error:
            self.lacking = str(error)
        return None


def _memory(dump: Dump) -> Sequence[MemoryRange]:
    ranges = []
    for range_ in dump.memory:
        bytes_in = dict.fromkeys(State, 0)
        for piece in dump.mapping(range_):
            bytes_in[piece.state] += piece.range.size_bytes
        ranges.append(MemoryRange(range_, bytes_in))
    return tuple(ranges)
