"""The tasks of the crashed system.

After the last step of "follow one crash" in docs/architecture.md. Linux: struct task_struct in include/linux/sched.h,
for_each_process_thread() in include/linux/sched/signal.h; ``current`` in arch/powerpc/include/asm/current.h is a member
of the CPU's paca. VMCOREINFO doesn't say where the members of task_struct are, so this needs a vmlinux with debug
information.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from fadump.errors import FadumpError, FormatError
from fadump.limits import MOST_TASKS
from fadump.linux.cpu_numbers import paca_address
from fadump.linux.dwarf import Offsets
from fadump.linux.memory import KernelMemory
from fadump.linux.symbols import SymbolTable

STRUCTS = frozenset({"task_struct", "signal_struct", "paca_struct"})
"""The structures whose members' offsets are needed."""

_NAME_BYTES = 16
_STATES = "RSDTtXZP"
_REPORTED_STATES = 0x7F
_IDLE_STATE = 0x402


class UnknownMemberError(FadumpError, LookupError):
    """A structure lacks a member that is needed."""


@dataclass(frozen=True, slots=True)
class Task:
    """A thread: ``pid`` is its own number, ``process`` its process's; ``state`` is a letter as in ps(1).

    ``address`` is its task_struct's, a virtual address.
    """

    pid: int
    process: int
    name: str
    state: str
    address: int


def read_tasks(memory: KernelMemory, symbols: SymbolTable, offsets: Offsets) -> list[Task]:
    """All threads of all processes, in the kernel's order; the CPUs' idle threads are not among them.

    :raises UnknownMemberError: a member's offset isn't known.
    :raises UnknownSymbolError: the kernel lists no init_task.
    :raises AddressError: the dump doesn't have a task.
    :raises TranslationError: a list leads to an address that isn't mapped.
    :raises FormatError: a list loops without coming back to its head.
    """
    return list(_Tasks(memory, offsets).all(symbols.address("init_task")))


def running_task(memory: KernelMemory, symbols: SymbolTable, offsets: Offsets, cpu: int) -> Task:
    """The thread that the CPU of a number ran; if it was idle, its idle thread, whose pid is 0.

    :raises UnknownMemberError: a member's offset isn't known.
    :raises UnknownSymbolError: the kernel lists no paca_ptrs.
    :raises AddressError: the dump doesn't have it.
    :raises TranslationError: it is at an address that isn't mapped.
    """
    return _Tasks(memory, offsets).current(paca_address(memory, symbols, cpu))


class _Tasks:
    def __init__(self, memory: KernelMemory, offsets: Offsets) -> None:
        self._memory = memory
        self._offsets = offsets
        self._count = 0

    def all(self, first: int) -> Iterator[Task]:
        tasks, threads = self._offset("task_struct.tasks"), self._offset("task_struct.thread_node")
        signal, thread_head = self._offset("task_struct.signal"), self._offset("signal_struct.thread_head")
        for leader in self._members(first + tasks, tasks):
            head = self._memory.word(leader + signal) + thread_head
            for thread in self._members(head, threads):
                yield self._task(thread)

    def current(self, paca: int) -> Task:
        return self._task(self._memory.word(paca + self._offset("paca_struct.__current")))

    def _members(self, head: int, member_offset: int) -> Iterator[int]:
        """The members of a list, without its ``head``."""
        seen = {head}
        node = self._memory.word(head)
        while node != head:
            self._count += 1
            if node in seen or self._count > MOST_TASKS:
                raise FormatError("list of tasks that doesn't come back to its start", offset=node)
            seen.add(node)
            yield node - member_offset
            node = self._memory.word(node)

    def _task(self, task: int) -> Task:
        return Task(
            pid=self._memory.number(task + self._offset("task_struct.pid")),
            process=self._memory.number(task + self._offset("task_struct.tgid")),
            name=self._memory.string(task + self._offset("task_struct.comm"), _NAME_BYTES).decode(
                "utf-8", "backslashreplace"
            ),
            state=self._state(task),
            address=task,
        )

    def _state(self, task: int) -> str:
        # since Linux kernel commit 2f064a59a11f ("sched: Change task_struct::state") (in v5.14) it is __state
        name = "__state" if "task_struct.__state" in self._offsets else "state"
        state = self._memory.number(task + self._offset(f"task_struct.{name}"))
        if state == _IDLE_STATE:
            return "I"
        state |= self._memory.number(task + self._offset("task_struct.exit_state"))
        return _STATES[(state & _REPORTED_STATES).bit_length()]

    def _offset(self, member: str) -> int:
        try:
            return self._offsets[member]
        except KeyError:
            raise UnknownMemberError(f"the vmlinux's debug information doesn't have {member}") from None
