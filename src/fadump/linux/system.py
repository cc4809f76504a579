"""A crashed Linux system, opened from its dump: ``fadump.open``.

    with fadump.open("vmcore") as system:
        for record in system.log():
            print(*record.lines(), sep="\\n")
        for cpu in system.cpus:
            print(cpu.number, *(frame.symbol for frame in cpu.backtrace.frames))

Everything is read when it is first used, so a damaged part of a dump doesn't affect the others.
"""

import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Self

from fadump.errors import FadumpError
from fadump.linux.kernel_name import KernelName, crash_time, read_name
from fadump.linux.log.end import LogEnd, read_log_end
from fadump.linux.log.ending import Ending
from fadump.linux.log.incidents import Incidents, find_incidents
from fadump.linux.log.reader import read_log
from fadump.linux.log.record import LogRecord
from fadump.linux.memory import UNREADABLE, KernelMemory, OtherMachineError
from fadump.linux.pages.classify import PageClasses, classify_pages
from fadump.linux.state.activity import Activity, read_activity
from fadump.linux.state.module_symbols import ModuleSymbols
from fadump.linux.state.module_types import ModuleTypes
from fadump.linux.state.modules import ModuleList, read_modules
from fadump.linux.state.system_state import SystemState
from fadump.linux.state.tasks import Task, TaskList, TaskReader
from fadump.linux.symbols.kallsyms import find_kallsyms, read_kallsyms
from fadump.linux.symbols.table import SymbolOffset, SymbolTable, UnknownSymbolError
from fadump.linux.types.btf import Btf, read_btf
from fadump.linux.types.contract import NoTypesError, Types, UnknownTypeError
from fadump.linux.types.objects import PathError
from fadump.linux.vmcoreinfo import Facts, MissingFactError, NoVmcoreinfoError
from fadump.linux.vmcoreinfo_note import find_vmcoreinfo
from fadump.linux.vmlinux.dwarf import NoDebugInformationError
from fadump.linux.vmlinux.dwarf_types import DwarfTypes
from fadump.linux.vmlinux.elf import open_elf
from fadump.linux.vmlinux.facts import vmlinux_facts
from fadump.linux.vmlinux.symbols import NoSymbolsError, OtherKernelError, read_vmlinux
from fadump.vmcore.contract import Dump
from fadump.vmcore.dump import open_dump
from fadump.vmcore.notes import Note
from fadump.vmcore.source import StrPath, open_file

if TYPE_CHECKING:
    from fadump.linux.cpus.cpu import Cpu
    from fadump.linux.state.task_stacks import StackGroup

UNREADABLE_KERNEL = (
    *(*UNREADABLE, MissingFactError, NoVmcoreinfoError, OtherMachineError, UnknownSymbolError),
    *(NoSymbolsError, OtherKernelError, NoDebugInformationError, UnknownTypeError, PathError),
)
"""What a :class:`CrashedSystem` raises if its dump, or its vmlinux, lacks the information; not what it raises if the
host lacks a library."""


class CrashedSystem:
    """What a dump says. Also a context manager."""

    def __init__(self, dump: Dump, vmlinux: StrPath | None = None) -> None:
        """This object owns ``dump`` from now on; ``vmlinux`` is the path of the kernel's, with symbols."""
        self.dump = dump
        self._vmlinux = vmlinux

    @property
    def has_vmlinux(self) -> bool:
        """Whether the kernel's vmlinux was given."""
        return self._vmlinux is not None

    @property
    def vmlinux(self) -> StrPath | None:
        """The path of the kernel's vmlinux that was given."""
        return self._vmlinux

    def over(self, dump: Dump) -> "CrashedSystem":
        """The same system in another dump, which owns this one's; whatever has been read of this one is forgotten."""
        return CrashedSystem(dump, self._vmlinux)

    @property
    def notes(self) -> Sequence[Note]:
        """All notes of the dump."""
        return self.dump.notes

    @cached_property
    def vmcoreinfo(self) -> Facts:
        """What the kernel says about itself, as the dump or the kernel's memory has it; else what its vmlinux says.

        :raises NoVmcoreinfoError: neither has, and no vmlinux was given.
        :raises SetupError: the dump is packed with LZO or Snappy, which the host lacks.
        :raises FadumpError: this is OPAL's core; the vmlinux is another kernel's, or has no symbols.
        :raises OSError: it can't be read.
        """
        if self.dump.opal_entry is not None:
            raise FadumpError("this is OPAL's core, and no dump of Linux: gdb opens it")
        text = self.vmcoreinfo_text
        if text is None and self._vmlinux is not None:
            return vmlinux_facts(self.dump, self._vmlinux)
        return Facts.of(self.dump) if text is None else Facts(text)

    @cached_property
    def vmcoreinfo_text(self) -> bytes | None:
        """The kernel's own VMCOREINFO, of the dump or found in memory; None if neither has it.

        :raises SetupError: as :attr:`vmcoreinfo`.
        """
        return find_vmcoreinfo(self.dump) if self.dump.vmcoreinfo is None else self.dump.vmcoreinfo

    @property
    def page_bytes(self) -> int:
        """Bytes in a page: in the kernel, or in the dump if that isn't known or its pages are smaller.

        QEMU has pages of 64 KiB in its dumps of Power, whatever the guest's are.

        :raises NoVmcoreinfoError: the dump's format has no pages, and it has no VMCOREINFO.
        :raises MissingFactError: nor does its VMCOREINFO have the size.
        """
        in_dump = self.dump.page_bytes
        if in_dump is None:
            return self.vmcoreinfo.page_bytes()
        try:
            in_kernel = self.vmcoreinfo.page_bytes()
        except UNREADABLE_KERNEL:
            return in_dump
        return min(in_kernel, in_dump)

    @cached_property
    def memory(self) -> KernelMemory:
        """Memory by virtual address; ``memory.dump`` has it by physical address.

        :raises NoVmcoreinfoError: the dump has no VMCOREINFO, which translation needs.
        :raises OtherMachineError: the dump is of a machine other than ppc64.
        """
        return KernelMemory(self.dump, self.vmcoreinfo)

    @cached_property
    def symbols(self) -> SymbolTable:
        """The kernel's symbols, from its vmlinux if that was given.

        :raises FadumpError: neither the dump nor the vmlinux has them; see :mod:`fadump.linux.symbols.kallsyms`.
        :raises OSError: the vmlinux can't be read.
        """
        if self._vmlinux is not None:
            symbols = read_vmlinux(self._vmlinux, self.vmcoreinfo)
        else:
            symbols = read_kallsyms(self.memory)
        symbols.modules = self._symbol_of_module
        return symbols

    def _symbol_of_module(self, address: int) -> SymbolOffset | None:
        return None if self._module_symbols is None else self._module_symbols.symbol(address)

    @cached_property
    def _module_symbols(self) -> ModuleSymbols | None:
        """None: the kernel doesn't say where they are."""
        try:
            return ModuleSymbols(self.memory, self.structures, self.modules.modules)
        except UNREADABLE_KERNEL:
            return None

    def find_symbols(self, names: Collection[str]) -> SymbolTable:
        """At least those of these names that there are, not kept: a fraction of the work and memory that all take.

        :raises FadumpError: as :attr:`symbols`.
        :raises OSError: likewise.
        """
        if self._vmlinux is not None:
            return read_vmlinux(self._vmlinux, self.vmcoreinfo)
        return find_kallsyms(self.memory, names)

    @cached_property
    def types(self) -> Types:
        """The kernel's types: by the debug information of its vmlinux, or the BTF there, or that in its memory.

        :raises FadumpError: there is none of them, or it can't be read.
        :raises OSError: the vmlinux can't be read.
        """
        if self._vmlinux is not None:
            with open_elf(self._vmlinux) as elf:
                if elf.named(".debug_info"):
                    return DwarfTypes(elf)
                btf = elf.named(".BTF")
                if btf:
                    return Btf(btf)
        try:
            return read_btf(self.memory, self.symbols)
        except UnknownSymbolError:
            raise NoTypesError(
                "nothing says what the kernel's types are: it has no BTF; give a vmlinux with debug information"
            ) from None

    @cached_property
    def structures(self) -> Types:
        """The same types; those of the kernel's BTF if it has any, as that is read in a fraction of the time.

        :raises FadumpError: as :attr:`types`.
        :raises OSError: the vmlinux can't be read.
        """
        if self._vmlinux is not None:
            with open_elf(self._vmlinux) as elf:
                btf = elf.named(".BTF")
            if btf:
                return Btf(btf)
            with suppress(*UNREADABLE, UnknownSymbolError):
                return read_btf(self.memory, self.symbols)
        return self.types

    @cached_property
    def cpus(self) -> "Sequence[Cpu]":
        """The CPUs that were online, with registers and backtraces.

        :raises FadumpError: as :attr:`symbols`; :func:`~fadump.linux.cpus.cpu.read_cpus` doesn't need them.
        """
        from fadump.linux.cpus.cpu import read_cpus  # noqa: PLC0415 - a slow start, and a save has no use for it

        return tuple(read_cpus(self.memory, self.symbols))

    @property
    def crashed_cpu(self) -> "Cpu | None":
        """The CPU that the kernel crashed on, as drgn's crashed_thread(); None if that can't be known.

        :raises FadumpError: as :attr:`cpus`.
        """
        return next((cpu for cpu in self.cpus if cpu.crashed), None)

    def symbol(self, address: int) -> SymbolOffset | None:
        """The symbol at or before a virtual address, as drgn's symbol(); None if it is before or after all symbols.

        :raises FadumpError: as :attr:`symbols`.
        """
        return self.symbols.symbol(address)

    @cached_property
    def kernel(self) -> KernelName | None:
        """What uname(2) returned, if the dump has it."""
        return read_name(self.memory)

    @property
    def crash_time(self) -> int | None:
        """When the kernel crashed, in seconds since 1970, UTC; None if the dump doesn't say."""
        return crash_time(self.memory)

    @property
    def boot_time(self) -> int | None:
        """When it booted, in seconds since 1970, UTC, reckoned back from its end; None if the dump doesn't say."""
        try:
            crash, uptime_ns = self.crash_time, self.ending.uptime_ns
        except UNREADABLE_KERNEL:
            return None
        return None if crash is None or uptime_ns is None else crash - uptime_ns // 1_000_000_000

    @property
    def ending(self) -> Ending:
        """What the log says about the end.

        :raises FadumpError: as :meth:`log`.
        """
        return self.log_end.ending

    @cached_property
    def log_end(self) -> LogEnd:
        """The last messages of the log, and the first sign of trouble among them.

        :raises FadumpError: as :meth:`log`.
        """
        return read_log_end(self.log())

    @property
    def tasks(self) -> Sequence[Task]:
        """All threads of all processes, as far as they can be read.

        :raises FadumpError: as :attr:`task_list`.
        :raises OSError: the vmlinux can't be read.
        """
        return self.task_list.tasks

    @cached_property
    def task_list(self) -> TaskList:
        """The same, with what can't be read.

        :raises UnknownTypeError: nothing says where the members of task_struct are.
        :raises FadumpError: as :attr:`types` and :attr:`symbols`.
        :raises OSError: the vmlinux can't be read.
        """
        return self._task_reader.all()

    def running_task(self, cpu: int) -> Task:
        """The thread that the CPU of a number ran; an idle thread has the pid 0.

        :raises UnknownTypeError: as :attr:`task_list`.
        :raises FadumpError: as :meth:`~fadump.linux.state.tasks.TaskReader.running`.
        :raises OSError: the vmlinux can't be read.
        """
        return self._task_reader.running(cpu)

    @cached_property
    def modules(self) -> ModuleList:
        """The kernel's modules.

        :raises FadumpError: as :attr:`structures` and :func:`~fadump.linux.state.modules.read_modules`.
        :raises OSError: the vmlinux can't be read.
        """
        return read_modules(self.memory, self.symbols, self.structures)

    @cached_property
    def module_types(self) -> ModuleTypes:
        """The types that modules have of their own.

        :raises FadumpError: as :attr:`structures`, and if the kernel has no BTF.
        :raises OSError: the vmlinux can't be read.
        """
        return ModuleTypes(self.memory, self.symbols, self.structures)

    @cached_property
    def activity(self) -> Activity:
        """What the system was doing as a whole: command line, taint, uptime, load, CPUs and what they had to run.

        :raises FadumpError: as :attr:`symbols`. What else isn't known, :attr:`Activity.unknown` names.
        :raises OSError: the vmlinux can't be read.
        """
        types = reader = None
        with suppress(*UNREADABLE_KERNEL):
            types = self.structures
            reader = self._task_reader
        return read_activity(self.memory, self.symbols, types, reader)

    @cached_property
    def state(self) -> SystemState:
        """What else the kernel's structures say of the system: memory, slab caches, mounts, network, interrupts.

        :raises FadumpError: as :attr:`symbols`.
        :raises OSError: the vmlinux can't be read.
        """
        return SystemState(self.memory, self.symbols, lambda: self.structures)

    @cached_property
    def stacks(self) -> "Sequence[StackGroup]":
        """The stacks of all tasks: equal ones together, those of blocked tasks first.

        :raises FadumpError: as :attr:`task_list`.
        :raises OSError: the vmlinux can't be read.
        """
        from fadump.linux.state.task_stacks import group_stacks  # noqa: PLC0415 - as above

        running = {}
        for cpu in self.cpus:
            if cpu.number is not None:
                with suppress(*UNREADABLE_KERNEL):
                    running[self.running_task(cpu.number).address] = cpu
        return tuple(group_stacks(self.memory, self.symbols, self.tasks, running))

    @cached_property
    def page_classes(self) -> PageClasses:
        """What each page was used for.

        :raises FadumpError: see :func:`~fadump.linux.pages.classify.classify_pages`.
        """
        return classify_pages(self.memory)

    @cached_property
    def _task_reader(self) -> TaskReader:
        return TaskReader(self.memory, self.symbols, self.structures)

    @cached_property
    def incidents(self) -> Incidents:
        """The trouble that the log tells of: hung tasks, lockups, stalls, processes killed for their memory.

        :raises FadumpError: as :meth:`log`.
        """
        return find_incidents(self.log())

    def log(self) -> Iterator[LogRecord]:
        """The log, oldest record first.

        :raises FadumpError: see :func:`~fadump.linux.log.reader.read_log`; also between two records.
        """
        return read_log(self.memory)

    def close(self) -> None:
        """Close the dump."""
        self.dump.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def open_system(paths: StrPath | Sequence[StrPath], *, vmlinux: StrPath | None = None) -> CrashedSystem:
    """Open a dump of any kind, or all files of a split one.

    :raises FormatError: it is not a dump, or its headers make no sense.
    :raises FadumpError: the vmlinux is a directory, a pipe or the like.
    :raises OSError: one of them can't be opened or read.
    """
    if vmlinux is not None:  # checked now, as it may be read much later, or never
        os.close(open_file(vmlinux))
    return CrashedSystem(open_dump(paths), vmlinux)
