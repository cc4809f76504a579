"""``fadump gdb``: a dump in gdb, as an ELF core whose addresses are the kernel's.

gdb tells threads apart by their numbers, and the kernel has the same one, 0, in the registers of each CPU that FADump
saves: in the copy for gdb, CPU n is the thread n+1.
"""

from collections.abc import Iterator
from dataclasses import replace

from fadump.abi.linux.prstatus import PRSTATUS
from fadump.capture.options import Format
from fadump.capture.registers import AddedRegisters
from fadump.cli.debugger import Debugger, Handover, add_debugger
from fadump.cli.parser import Commands
from fadump.linux.cpus.cpu import Cpu
from fadump.linux.system import CrashedSystem
from fadump.vmcore.contract import Dump, Kind
from fadump.vmcore.notes import Note, decode_prstatus
from fadump.vmcore.overlay import OverlayDump

_EXAMPLE = """example:
  fadump gdb fadump-run/vmcore                          a prompt: info threads, bt; CPU n is LWP n+1
  fadump gdb vmcore -- -batch -ex 'print linux_banner'  what is behind -- is gdb's
"""
_PID = slice(PRSTATUS.offset("pr_pid"), PRSTATUS.offset("pr_pid") + 4)


def add_parser(commands: Commands) -> None:
    """Add the command to the main parser."""
    debugger = Debugger(
        *("gdb", "apt-get install gdb-multiarch", _command, _reads, _format),
        needs_vmlinux=True,
        programs=("gdb-multiarch", "gdb"),
        prepare=_with_thread_numbers,
    )
    add_debugger(
        commands,
        debugger,
        summary="look into a dump with gdb: CPUs are threads, memory is the kernel's linear map",
        description="Start gdb on a dump. gdb reads an ELF core with a number for each CPU's registers: other dumps, "
        "as all of FADump's, are saved once more beside themselves, as FILE.for-gdb. gdb knows no page tables, so "
        "modules and vmalloc are out of its reach. With --json nothing is started: the command is printed.",
        example=_EXAMPLE,
    )


def _command(called: str, handover: Handover) -> list[str]:
    debuginfod = "on" if handover.options.debuginfod else "off"
    words = [called, "-iex", f"set debuginfod enabled {debuginfod}"]
    return [*words, str(handover.vmlinux), "-c", str(handover.dump)]


def _reads(dump: Dump, _added: AddedRegisters, _changed: bool) -> bool:
    numbers = [decode_prstatus(note, dump.byte_order).pid for note in dump.notes if note.is_prstatus()]
    has_own_numbers = 0 not in numbers and len(set(numbers)) == len(numbers)
    is_readable = dump.kind is Kind.ELF and not dump.flattened
    return is_readable and has_own_numbers and any(range_.virtual for range_ in dump.virtual_ranges)


def _format(_system: CrashedSystem) -> Format:
    return Format.ELF


def _with_thread_numbers(system: CrashedSystem) -> CrashedSystem:
    """The same with a thread's number in each CPU's registers, those of the CPU that crashed first."""
    dump = system.dump
    registers = [note for note in dump.notes if note.is_prstatus()]
    others = [note for note in dump.notes if not note.is_prstatus()]
    cpus = list(system.cpus)
    order = sorted(range(len(registers)), key=lambda at: not cpus[at].crashed) if len(cpus) == len(registers) else []
    notes = list(_numbered(registers, cpus, order, dump)) or registers
    return system.over(OverlayDump(dump, {}, page_bytes=system.page_bytes, notes=[*notes, *others]))


def _numbered(registers: list[Note], cpus: list[Cpu], order: list[int], dump: Dump) -> Iterator[Note]:
    free = 1 + max((cpu.number for cpu in cpus if cpu.number is not None), default=0) + 1
    for at in order:
        number = cpus[at].number
        if number is None:
            thread, free = free, free + 1
        else:
            thread = number + 1
        data = bytearray(registers[at].desc)
        data[_PID] = thread.to_bytes(4, dump.byte_order)
        yield replace(registers[at], desc=bytes(data))
