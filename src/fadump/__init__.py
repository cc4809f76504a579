"""Linux's Firmware-Assisted Dump, whole: firmware, machine and dump tools.

To read a dump, ``fadump.open("vmcore")`` gives a :class:`CrashedSystem`; ``fadump.decode()`` reads the structures that
firmware and kernels leave for each other. To make one, a test has :class:`Machine`, ``fadump.rehearse()`` and
``fadump.shell()``. Whatever goes wrong is a :class:`FadumpError`, which says so in a sentence. docs/api.md has
examples. What a name stands for is imported when it is first used: nothing is here, as the command can't tell of a
signal that comes before this has been read.
"""

TYPE_CHECKING = False  # as typing's, which takes a while to import
if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from fadump.abi.linux.crash_info import CrashInfo
    from fadump.abi.linux.printk import LogFlags
    from fadump.abi.powernv.kernel_metadata import KernelMetadata
    from fadump.abi.powernv.mpipl import MpiplMetadata, MpiplRegion
    from fadump.abi.pseries.dump_structure import DumpSection, DumpStatus, DumpStructure, SectionError
    from fadump.abi.pseries.hash_table import Access, EntryFlag, HashTableEntry
    from fadump.abi.registers import CpuRegisters
    from fadump.errors import (
        AddressError,
        FadumpError,
        FormatError,
        LimitError,
        MachineError,
        ReadError,
        SetupError,
        UsageError,
    )
    from fadump.linux.cpus.backtrace import Backtrace, Frame
    from fadump.linux.cpus.cpu import Cpu
    from fadump.linux.kernel_name import KernelName
    from fadump.linux.log.end import LogEnd
    from fadump.linux.log.ending import Ending, EndingTask
    from fadump.linux.log.incidents import Incident, IncidentKind, Incidents
    from fadump.linux.log.record import LogRecord
    from fadump.linux.memory import KernelMemory
    from fadump.linux.pages.classify import PageBlock, PageClasses
    from fadump.linux.pages.page_class import DumpLevel, PageClass
    from fadump.linux.state.activity import Activity, RunQueue
    from fadump.linux.state.interrupts import Interrupt, Interrupts
    from fadump.linux.state.memory_use import HugePages, MemoryUse
    from fadump.linux.state.module_types import ModuleTypes
    from fadump.linux.state.modules import Module, ModuleList
    from fadump.linux.state.mounts import Mount, Mounts
    from fadump.linux.state.network import Network, NetworkDevice
    from fadump.linux.state.slab_caches import SlabCache, SlabCaches
    from fadump.linux.state.system_state import SystemState
    from fadump.linux.state.task_stacks import StackGroup
    from fadump.linux.state.tasks import Task, TaskList
    from fadump.linux.symbols.table import Symbol, SymbolOffset, SymbolTable, UnknownSymbolError
    from fadump.linux.system import CrashedSystem
    from fadump.linux.translate import TranslationError
    from fadump.linux.types.contract import Kind, Member, NoTypesError, Type, Types, UnknownTypeError
    from fadump.linux.vmcoreinfo import Facts, MissingFactError
    from fadump.memory.devicetree import DeviceTree, Node
    from fadump.memory.ranges import Range, RangeSet
    from fadump.testing.machine import Crash, Machine
    from fadump.testing.rehearsal import Rehearsal, rehearse
    from fadump.testing.shell import shell
    from fadump.vmcore.contract import Dump, NotInDumpError, Piece, State
    from fadump.vmcore.notes import Note
    from fadump.vmcore.structures import HashPageTable, RegisterSaveArea, Structure

__all__ = [
    "Access",
    "Activity",
    "AddressError",
    "Backtrace",
    "Cpu",
    "CpuRegisters",
    "Crash",
    "CrashInfo",
    "CrashedSystem",
    "DeviceTree",
    "Dump",
    "DumpLevel",
    "DumpSection",
    "DumpStatus",
    "DumpStructure",
    "Ending",
    "EndingTask",
    "EntryFlag",
    "Facts",
    "FadumpError",
    "FormatError",
    "Frame",
    "HashPageTable",
    "HashTableEntry",
    "HugePages",
    "Incident",
    "IncidentKind",
    "Incidents",
    "Interrupt",
    "Interrupts",
    "KernelMemory",
    "KernelMetadata",
    "KernelName",
    "Kind",
    "LimitError",
    "LogEnd",
    "LogFlags",
    "LogRecord",
    "Machine",
    "MachineError",
    "Member",
    "MemoryUse",
    "MissingFactError",
    "Module",
    "ModuleList",
    "ModuleTypes",
    "Mount",
    "Mounts",
    "MpiplMetadata",
    "MpiplRegion",
    "Network",
    "NetworkDevice",
    "NoTypesError",
    "Node",
    "NotInDumpError",
    "Note",
    "PageBlock",
    "PageClass",
    "PageClasses",
    "Piece",
    "Range",
    "RangeSet",
    "ReadError",
    "RegisterSaveArea",
    "Rehearsal",
    "RunQueue",
    "SectionError",
    "SetupError",
    "SlabCache",
    "SlabCaches",
    "StackGroup",
    "State",
    "Structure",
    "Symbol",
    "SymbolOffset",
    "SymbolTable",
    "SystemState",
    "Task",
    "TaskList",
    "TranslationError",
    "Type",
    "Types",
    "UnknownSymbolError",
    "UnknownTypeError",
    "UsageError",
    "decode",
    "open",
    "rehearse",
    "shell",
]
__version__ = "0.1.0"

_HOMES = {
    "fadump.abi.linux.crash_info": ("CrashInfo",),
    "fadump.abi.linux.printk": ("LogFlags",),
    "fadump.abi.powernv.kernel_metadata": ("KernelMetadata",),
    "fadump.abi.powernv.mpipl": (
        "MpiplMetadata",
        "MpiplRegion",
    ),
    "fadump.abi.pseries.dump_structure": (
        "DumpSection",
        "DumpStatus",
        "DumpStructure",
        "SectionError",
    ),
    "fadump.abi.pseries.hash_table": (
        "Access",
        "EntryFlag",
        "HashTableEntry",
    ),
    "fadump.abi.registers": ("CpuRegisters",),
    "fadump.errors": (
        "AddressError",
        "FadumpError",
        "FormatError",
        "LimitError",
        "MachineError",
        "ReadError",
        "SetupError",
        "UsageError",
    ),
    "fadump.linux.cpus.backtrace": (
        "Backtrace",
        "Frame",
    ),
    "fadump.linux.cpus.cpu": ("Cpu",),
    "fadump.linux.kernel_name": ("KernelName",),
    "fadump.linux.log.end": ("LogEnd",),
    "fadump.linux.log.ending": (
        "Ending",
        "EndingTask",
    ),
    "fadump.linux.log.incidents": (
        "Incident",
        "IncidentKind",
        "Incidents",
    ),
    "fadump.linux.log.record": ("LogRecord",),
    "fadump.linux.memory": ("KernelMemory",),
    "fadump.linux.pages.classify": (
        "PageBlock",
        "PageClasses",
    ),
    "fadump.linux.pages.page_class": (
        "DumpLevel",
        "PageClass",
    ),
    "fadump.linux.state.activity": (
        "Activity",
        "RunQueue",
    ),
    "fadump.linux.state.interrupts": (
        "Interrupt",
        "Interrupts",
    ),
    "fadump.linux.state.memory_use": (
        "HugePages",
        "MemoryUse",
    ),
    "fadump.linux.state.module_types": ("ModuleTypes",),
    "fadump.linux.state.modules": (
        "Module",
        "ModuleList",
    ),
    "fadump.linux.state.mounts": (
        "Mount",
        "Mounts",
    ),
    "fadump.linux.state.network": (
        "Network",
        "NetworkDevice",
    ),
    "fadump.linux.state.slab_caches": (
        "SlabCache",
        "SlabCaches",
    ),
    "fadump.linux.state.system_state": ("SystemState",),
    "fadump.linux.state.task_stacks": ("StackGroup",),
    "fadump.linux.state.tasks": (
        "Task",
        "TaskList",
    ),
    "fadump.linux.symbols.table": (
        "Symbol",
        "SymbolOffset",
        "SymbolTable",
        "UnknownSymbolError",
    ),
    "fadump.linux.system": ("CrashedSystem",),
    "fadump.linux.translate": ("TranslationError",),
    "fadump.linux.types.contract": (
        "Kind",
        "Member",
        "NoTypesError",
        "Type",
        "Types",
        "UnknownTypeError",
    ),
    "fadump.linux.vmcoreinfo": (
        "Facts",
        "MissingFactError",
    ),
    "fadump.memory.devicetree": (
        "DeviceTree",
        "Node",
    ),
    "fadump.memory.ranges": (
        "Range",
        "RangeSet",
    ),
    "fadump.testing.machine": (
        "Crash",
        "Machine",
    ),
    "fadump.testing.rehearsal": (
        "Rehearsal",
        "rehearse",
    ),
    "fadump.testing.shell": ("shell",),
    "fadump.vmcore.contract": (
        "Dump",
        "NotInDumpError",
        "Piece",
        "State",
    ),
    "fadump.vmcore.notes": ("Note",),
    "fadump.vmcore.structures": (
        "HashPageTable",
        "RegisterSaveArea",
        "Structure",
    ),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - as above

    return getattr(import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME_OF])


def open(  # noqa: A001 - fadump.open, as in gzip.open
    paths: "str | os.PathLike[str] | Sequence[str | os.PathLike[str]]",
    *,
    vmlinux: "str | os.PathLike[str] | None" = None,
) -> "CrashedSystem":
    """Open a dump of any kind, or all files of a split one in any order.

    ``vmlinux`` is the crashed kernel's: it has symbols that older kernels don't list themselves, and says where tasks
    are if the kernel has no BTF. Close what you get, or use it as a context manager:

        with fadump.open("vmcore") as system:
            print(system.ending.panic, system.crashed_cpu)

    :raises FadumpError: it is not a dump, or its headers make no sense; a UsageError: no file is given.
    :raises OSError: it can't be opened or read.
    """
    from fadump.linux.system import open_system  # noqa: PLC0415 - most uses of this package don't read dumps

    return open_system(paths, vmlinux=vmlinux)


def decode(path: "str | os.PathLike[str]") -> "Structure | None":
    """Read a structure that firmware or kernel leave for each other, told by its first bytes: a dump memory structure,
    a register save area, a crash-info header, MPIPL's or the kernel's metadata, a flattened device tree.

    None if the file is none of these, as a dump isn't.

    :raises FormatError: it begins as one, but is cut short or makes no sense.
    :raises FadumpError: it is a directory, a pipe or the like.
    :raises OSError: it can't be read.
    """
    from fadump.vmcore.structures import decode_file  # noqa: PLC0415 - as above

    return decode_file(path)
