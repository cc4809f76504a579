"""The stacks of all tasks at the crash.

After the last step of "follow one crash" in docs/architecture.md. A task that ran has the registers of its CPU. Of one
that didn't, thread_struct.ksp is the frame of _switch() (arch/powerpc/kernel/entry_64.S, later switch.S), which
__switch_to() has called. Tasks whose stacks are equal, function for function, are told together, as most of a system's
tasks wait in few places.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fadump.abi.linux import stack as abi
from fadump.abi.linux.page_table import PAGE_OFFSET
from fadump.abi.linux.pt_regs import REGISTER_NAMES
from fadump.errors import LimitError
from fadump.limits import MOST_TASK_FRAMES, Budget
from fadump.linux.cpus.backtrace import Backtrace, Frame, follow_stack
from fadump.linux.cpus.cpu import Cpu
from fadump.linux.memory import UNREADABLE_ADDRESS, KernelMemory
from fadump.linux.paged_memory import PagedMemory
from fadump.linux.state.tasks import Task
from fadump.linux.state.waits import waits_for, waits_for_server
from fadump.linux.symbols.table import SymbolTable

_SLEEPS, _ENDED = "S", "ZX"
"""States in which a task has no stack any more."""


@dataclass(frozen=True, slots=True)
class StackGroup:
    """Tasks of one state with equal stacks, and the ``backtrace`` of the first of them.

    It has no frames if they were in user space, or have ended; ``backtrace.ended`` says why it can't be read.
    ``cpus`` are those that they ran on at the crash, in the order of the tasks; none if they didn't run. ``waits_for``
    is what they wait for in a few words, if the stack says it and they are blocked, or sleep until a server answers.
    """

    tasks: tuple[Task, ...]
    backtrace: Backtrace
    cpus: tuple[int, ...] = ()
    waits_for: str | None = None

    @property
    def is_blocked(self) -> bool:
        """Whether its tasks are in state D."""
        return self.tasks[0].is_blocked


def group_stacks(
    memory: KernelMemory, symbols: SymbolTable | None, tasks: Sequence[Task], running: Mapping[int, Cpu]
) -> list[StackGroup]:
    """The stacks of some tasks: of blocked ones first, of those that wait for a server, of those that ran, of others.

    Large groups are before small ones. ``running`` has the CPU of each task that ran, by its task_struct's address.
    """
    paged, frames = PagedMemory(memory), Budget("frames of all tasks' stacks", MOST_TASK_FRAMES)
    members: dict[tuple[object, ...], list[Task]] = {}
    backtraces: dict[tuple[object, ...], Backtrace] = {}
    for task in tasks:
        cpu = running.get(task.address)
        backtrace = _sleeping(paged, symbols, task, frames) if cpu is None else cpu.backtrace
        key = (cpu is None, task.state, backtrace.ended is None, *map(_place, backtrace.frames))
        members.setdefault(key, []).append(task)
        backtraces.setdefault(key, backtrace)
    groups = [_group(tuple(found), backtraces[key], running) for key, found in members.items()]
    return sorted(groups, key=_rank)


def _sleeping(memory: KernelMemory, symbols: SymbolTable | None, task: Task, frames: Budget) -> Backtrace:
    """The stack of a task that isn't among those that ran."""
    if task.state in _ENDED:
        return Backtrace(())
    if task.on_cpu:
        return Backtrace((), f"it ran on CPU {task.cpu}, whose registers aren't known")
    if task.stack_pointer is None:
        return Backtrace((), "the kernel's types don't say where its registers are")
    try:
        caller = memory.word(task.stack_pointer + abi.BACK_CHAIN_OFFSET)
        returns_to = memory.word(caller + abi.RETURN_ADDRESS_OFFSET) if caller else 0
        if not caller:
            return Backtrace(())
        registers = dict.fromkeys(REGISTER_NAMES, 0) | {"gpr1": caller, "nip": returns_to}
        return follow_stack(memory, symbols, registers, frames)
    except (*UNREADABLE_ADDRESS, LimitError) as error:
        return Backtrace((), str(error))


def _group(tasks: tuple[Task, ...], backtrace: Backtrace, running: Mapping[int, Cpu]) -> StackGroup:
    numbers = (running[task.address].number for task in tasks if task.address in running)
    functions = [frame.symbol.name for frame in backtrace.frames if frame.symbol is not None]
    return StackGroup(
        tasks,
        backtrace,
        tuple(number for number in numbers if number is not None),
        _waits_for(tasks[0], functions),
    )


def _waits_for(task: Task, functions: Sequence[str]) -> str | None:
    if task.is_blocked:
        return waits_for(functions)
    return waits_for_server(functions) if task.state == _SLEEPS else None


def _place(frame: Frame) -> object:
    """What a frame has in common with those of other tasks: an address in user space isn't."""
    return None if frame.pc < PAGE_OFFSET else frame.pc


def _rank(group: StackGroup) -> tuple[bool, bool, bool, int]:
    return not group.is_blocked, group.waits_for is None, not group.cpus, -len(group.tasks)
