"""The tasks of the crashed system.

After the last step of "follow one crash" in docs/architecture.md. Linux: struct task_struct in include/linux/sched.h,
for_each_process_thread() in include/linux/sched/signal.h, task_state_index() and fs/proc/array.c; ``current`` in
arch/powerpc/include/asm/current.h is a member of the CPU's paca. Where members are is said by the kernel's types,
:mod:`fadump.linux.types.contract`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from fadump.errors import LimitError
from fadump.limits import MOST_TASKS, Budget
from fadump.linux.cpus.numbers import paca_address
from fadump.linux.cpus.per_cpu import PerCpu
from fadump.linux.memory import UNREADABLE_ADDRESS, KernelMemory
from fadump.linux.paged_memory import PagedMemory
from fadump.linux.symbols.table import SymbolTable
from fadump.linux.types.contract import Types, UnknownTypeError
from fadump.linux.types.lists import list_nodes
from fadump.linux.types.objects import PathError
from fadump.linux.types.structure import Structure, Values
from fadump.linux.vmcoreinfo import MissingFactError
from fadump.printable import first_of

_NEEDED = {
    "pid": "pid",
    "tgid": "tgid",
    "comm": "comm",
    "signal": "signal",
    "tasks": "tasks",
    "node": "thread_node",
    # since Linux kernel commit 2f064a59a11f ("sched: Change task_struct::state") (in v5.14) it is __state
    "state": ("__state", "state"),
    "exit_state": "exit_state",
}
_WANTED = {
    "parent": "real_parent",
    "cred": "real_cred",
    # since bcf9033e5449 ("sched: move CPU field back into thread_info if THREAD_INFO_IN_TASK=y") (v5.16) in thread_info
    "cpu": ("thread_info.cpu", "cpu"),
    "on_cpu": "on_cpu",
    "flags": "flags",
    "mm": "mm",
    "stack_pointer": "thread.ksp",
    "user_ns": "utime",
    "system_ns": "stime",
    # since cf25e24db61c ("time: Rename tsk->real_start_time to ->start_boottime") (v5.5)
    "started_ns": ("start_boottime", "real_start_time"),
}
_RESIDENT = (0, 1, 3)
"""MM_FILEPAGES, MM_ANONPAGES and MM_SHMEMPAGES, in include/linux/mm_types_task.h."""

_STATES: Mapping[str, str] = MappingProxyType(
    {
        "R": "running",
        "S": "sleeping",
        "D": "blocked",
        "T": "stopped",
        "t": "stopped by a tracer",
        "X": "dead",
        "Z": "zombie",
        "P": "parked",
        "I": "idle",
    }
)
_REPORTED_LETTERS = "RSDTtXZP"
_REPORTED_STATES = 0x7F
_IDLE_STATE = 0x402
"""TASK_UNINTERRUPTIBLE, but not counted as load: TASK_NOLOAD."""
_BLOCKED_STATES = 0x1000 | 0x8000
"""TASK_RTLOCK_WAIT and TASK_FROZEN, which are shown as blocked."""
_KERNEL_THREAD = 0x0020_0000
"""PF_KTHREAD."""


@dataclass(frozen=True, slots=True)
class Task:
    """A thread: ``pid`` is its own number, ``process`` its process's; ``state`` is a letter as in ps(1).

    ``address`` is its task_struct's, a virtual address. What isn't known of the rest is None: ``parent`` is the
    process number of its parent, ``cpu`` the one that it ran on last, ``on_cpu`` whether it still did, ``user`` the
    user's number. ``started_ns`` is when it began, in nanoseconds since boot; ``user_ns`` and ``system_ns`` are how
    long it has run since then. ``resident_bytes`` is its process's memory, 0 if it has none. ``stack_pointer`` is where
    its stack is if it doesn't run.
    """

    pid: int
    process: int
    name: str
    state: str
    address: int
    parent: int | None = None
    cpu: int | None = None
    on_cpu: bool | None = None
    user: int | None = None
    started_ns: int | None = None
    user_ns: int | None = None
    system_ns: int | None = None
    resident_bytes: int | None = None
    is_kernel_thread: bool | None = None
    stack_pointer: int | None = None

    @property
    def state_word(self) -> str:
        """The state in a word: "running", "sleeping", "blocked"."""
        if self.state == "R" and self.on_cpu is False:
            return "runnable"
        return _STATES.get(self.state, "unknown")

    @property
    def is_blocked(self) -> bool:
        """Whether it waits for something without listening to signals, state D."""
        return self.state == "D"


@dataclass(frozen=True, slots=True)
class TaskList:
    """All threads of all processes, in the kernel's order, without the CPUs' idle ones; and a sentence for each part
    of them that can't be read."""

    tasks: tuple[Task, ...]
    left_out: tuple[str, ...] = ()


class TaskReader:
    """Reads the tasks of one kernel."""

    def __init__(self, memory: KernelMemory, symbols: SymbolTable, types: Types) -> None:
        """Find where everything is.

        :raises UnknownTypeError: the kernel's types lack a member that is needed.
        :raises FormatError: they make no sense.
        """
        self._memory = PagedMemory(memory)
        self._symbols = symbols
        self._task = Structure(types, "task_struct", _NEEDED, _WANTED)
        self._signal = Structure(types, "signal_struct", {"threads": "thread_head"})
        self._users = _Users(self._memory, types)
        self._resident = _ResidentMemory(self._memory, symbols, types)
        self._current: int | None = None
        try:
            self._current = Structure(types, "paca_struct", {"current": "__current"}).offset("current")
        except UnknownTypeError as error:
            self._unknown_current = error
        self._processes: dict[int, int | None] = {}

    def all(self) -> TaskList:
        """All threads of all processes.

        :raises UnknownSymbolError: the kernel lists no init_task.
        """
        budget = Budget("threads", MOST_TASKS)
        first, link = self._symbols.address("init_task"), self._task.offset("tasks")
        leaders = list_nodes(self._memory, first + link, Budget("processes", MOST_TASKS))
        left_out = [] if leaders.broken is None else [f"some processes can't be read: {leaders.broken}"]
        tasks: dict[int, Task] = {}
        for node in leaders.nodes:
            try:
                for address in self._threads(node - link, budget, left_out):
                    if address not in tasks:
                        tasks[address] = self.at(address)
            except (*UNREADABLE_ADDRESS, LimitError) as error:
                left_out.append(f"a process at {node - link:#x} can't be read: {error}")
        return TaskList(tuple(tasks.values()), tuple(first_of(left_out)))

    def running(self, cpu: int) -> Task:
        """The thread that the CPU of a number ran; if it was idle, its idle thread, whose pid is 0.

        :raises UnknownTypeError: the kernel's types don't say where that is noted.
        :raises UnknownSymbolError: the kernel lists no paca_ptrs.
        :raises AddressError: the dump doesn't have it.
        :raises TranslationError: it is at an address that isn't mapped.
        """
        if self._current is None:
            raise self._unknown_current
        paca = paca_address(self._memory, self._symbols, cpu)
        return self.at(self._memory.word(paca + self._current))

    def at(self, address: int) -> Task:
        """The thread whose task_struct is at an address.

        :raises AddressError: the dump doesn't have it.
        :raises TranslationError: it is at an address that isn't mapped.
        """
        values = self._task.read(self._memory, address)
        flags = values.number("flags")
        return Task(
            pid=values.count("pid"),
            process=values.count("tgid"),
            name=values.text("comm"),
            state=_state(values.count("state"), values.count("exit_state")),
            address=address,
            parent=self._process_of(values.number("parent")),
            cpu=values.number("cpu"),
            on_cpu=None if values.number("on_cpu") is None else bool(values.number("on_cpu")),
            user=self._users.of(values.number("cred")),
            started_ns=values.number("started_ns"),
            user_ns=values.number("user_ns"),
            system_ns=values.number("system_ns"),
            resident_bytes=self._resident.bytes_in(values.number("mm")),
            is_kernel_thread=None if flags is None else bool(flags & _KERNEL_THREAD),
            stack_pointer=values.number("stack_pointer"),
        )

    def _threads(self, leader: int, budget: Budget, left_out: list[str]) -> Iterator[int]:
        link = self._task.offset("node")
        signal = self._task.read(self._memory, leader).count("signal")
        threads = list_nodes(self._memory, signal + self._signal.offset("threads"), budget)
        if threads.broken is not None:
            left_out.append(f"some threads of the process at {leader:#x} can't be read: {threads.broken}")
            yield leader
        yield from (node - link for node in threads.nodes)

    def _process_of(self, task: int | None) -> int | None:
        """The process number of another task."""
        if not task:
            return None
        if task not in self._processes:
            try:
                self._processes[task] = self._task.read(self._memory, task).number("tgid")
            except UNREADABLE_ADDRESS:
                self._processes[task] = None
        return self._processes[task]


def _state(state: int, exit_state: int) -> str:
    """The letter; Linux task_state_index()."""
    if state & _IDLE_STATE == _IDLE_STATE:
        return "I"
    if state & _BLOCKED_STATES:
        return "D"
    return _REPORTED_LETTERS[((state | exit_state) & _REPORTED_STATES).bit_length()]


class _Users:
    """The users of tasks, by their struct cred."""

    def __init__(self, memory: KernelMemory, types: Types) -> None:
        self._memory = memory
        self._known: dict[int, int | None] = {}
        self._cred: Structure | None = None
        try:
            self._cred = Structure(types, "cred", {"user": "uid.val"})
        except UnknownTypeError:
            return

    def of(self, cred: int | None) -> int | None:
        if not cred or self._cred is None:
            return None
        if cred not in self._known:
            try:
                self._known[cred] = self._cred.read(self._memory, cred).number("user")
            except UNREADABLE_ADDRESS:
                self._known[cred] = None
        return self._known[cred]


class _ResidentMemory:
    """How much memory of processes is resident, by their mm_struct.

    Since f1a7941243c1 ("mm: convert mm's rss stats into percpu_counter") (v6.2) each CPU has a part of the count.
    """

    def __init__(self, memory: KernelMemory, symbols: SymbolTable, types: Types) -> None:
        self._memory = memory
        self._per_cpu = PerCpu(memory, symbols)
        self._known: dict[int, int | None] = {}
        self._mm: Structure | None = None
        try:
            self._page_bytes = memory.facts.page_bytes()
            self._mm = self._structure(types)
        except (MissingFactError, UnknownTypeError, PathError):
            return

    def _structure(self, types: Types) -> Structure:
        counts = {
            f"count{number}": (f"rss_stat[{number}].count", f"rss_stat.count[{number}].counter") for number in _RESIDENT
        }
        each = {f"each{number}": f"rss_stat[{number}].counters" for number in _RESIDENT}
        return Structure(types, "mm_struct", counts, each)

    def bytes_in(self, mm: int | None) -> int | None:
        if not mm:
            return mm
        if self._mm is None:
            return None
        if mm not in self._known:
            try:
                pages = self._pages(self._mm.read(self._memory, mm))
                self._known[mm] = None if pages is None else pages * self._page_bytes
            except (*UNREADABLE_ADDRESS, LimitError):
                self._known[mm] = None
        return self._known[mm]

    def _pages(self, values: Values) -> int | None:
        pages = 0
        for number in _RESIDENT:
            count, each = values.count(f"count{number}"), values.number(f"each{number}")
            if each and not self._per_cpu:
                return None
            pages += max(0, count + (self._per_cpu.total(each) if each else 0))
        return pages
