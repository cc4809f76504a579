"""How a dump is handed over to drgn, crash or gdb: a file that each of them reads right, vmlinux and modules."""

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fadump.capture.destination import Destination
from fadump.capture.options import Format, SaveOptions
from fadump.capture.registers import AddedRegisters, with_registers
from fadump.capture.save import save_dump
from fadump.cli.dump_argument import dump_files
from fadump.cli.found_vmlinux import found_vmlinux
from fadump.cli.output import Answer, Output
from fadump.cli.parser import Commands, add_command
from fadump.cli.paths import path
from fadump.cli.typed import program
from fadump.errors import FadumpError, SetupError
from fadump.given import check_directory, check_file
from fadump.linux.system import UNREADABLE_KERNEL, CrashedSystem, open_system
from fadump.linux.vmlinux.debug_files import find_modules, module_directories
from fadump.printable import with_others
from fadump.progress import Progress
from fadump.vmcore.contract import Dump, Kind
from fadump.vmcore.notes import decode_prstatus


@dataclass(frozen=True, slots=True)
class Handover:
    """What a debugger is given: the dump's file, the kernel's vmlinux if there is one, and its modules' files."""

    dump: Path
    vmlinux: Path | None
    modules: Sequence[Path]
    options: argparse.Namespace


@dataclass(frozen=True, slots=True)
class Debugger:
    """``command`` makes its words. ``reads`` says whether it reads a dump as it is, and right, with what would be added
    to it; if not, the dump is saved for it in ``format``. ``install`` says how to get it."""

    name: str
    install: str
    command: Callable[[str, Handover], list[str]]
    reads: Callable[[Dump, AddedRegisters, bool], bool]
    format: Callable[[CrashedSystem], Format]
    needs_vmlinux: bool
    programs: Sequence[str] = ()
    """What it may be called; its own name if empty."""
    prepare: Callable[[CrashedSystem], CrashedSystem] | None = None
    """What a copy has of its own, in place of registers where others look for them."""
    environment: Callable[[CrashedSystem], Mapping[str, str]] = lambda _system: {}
    """The environment variables by which it reads such a system's dump right."""


def add_debugger(commands: Commands, debugger: Debugger, *, summary: str, description: str, example: str) -> None:
    """Add a debugger's command to the main parser."""

    def run(options: argparse.Namespace, output: Output) -> Answer:
        return _hand_over(debugger, options, output)

    parser = add_command(commands, debugger.name, run, summary=summary, description=description, example=example)
    parser.add_argument("file", type=path, metavar="FILE", help="a dump, or the directory that it lies in")
    parser.hands_on_words = True
    parser.add_argument(
        "--vmlinux", type=path, metavar="FILE", help="the crashed kernel's vmlinux (default: found by its build id)"
    )
    parser.add_argument(
        "--keep", type=path, metavar="DIR", help="where a copy is saved if one is needed (default: beside the dump)"
    )
    parser.add_argument(
        "--debuginfod", action="store_true", help="let it ask the servers in $DEBUGINFOD_URLS for what isn't here"
    )


def _hand_over(debugger: Debugger, options: argparse.Namespace, output: Output) -> Answer:
    if options.vmlinux is not None:
        check_file("--vmlinux", options.vmlinux)
    if options.keep is not None:
        check_directory("--keep", options.keep)
    called = next(filter(None, map(program, debugger.programs or (debugger.name,))), None)
    if called is None:
        raise SetupError(f"{debugger.name} is not installed: {debugger.install}")
    (file,) = dump_files([options.file])
    with open_system(file) as system:
        if not debugger.needs_vmlinux:
            _ = system.vmcoreinfo  # raises an error where there is none: what is left to find the kernel by?
        if damage := system.dump.damage:
            output.remark(f"{file} is not whole, and {debugger.name} may fail on it: {with_others(damage)}")
        vmlinux = options.vmlinux or found_vmlinux(system)
        if vmlinux is None and debugger.needs_vmlinux:
            raise SetupError(
                f"{debugger.name} needs the crashed kernel's vmlinux, which isn't found here: give --vmlinux"
            )
        if vmlinux is None:
            output.remark("the crashed kernel's vmlinux isn't found here: give --vmlinux for its types and symbols")
        modules = _modules(system, vmlinux)
        dump = _readable(debugger, system, file, options.keep or file.parent, output)
        environment = debugger.environment(system)
    command = debugger.command(called, Handover(dump, vmlinux, modules, options)) + options.words
    if not output.as_json:
        output.stream.flush()
        os.execvpe(command[0], command, os.environ | environment)  # noqa: S606 - it takes our place, and our terminal
    found = {"command": command, "environment": environment, "dump": str(dump)}
    return Answer(found | {"vmlinux": None if vmlinux is None else str(vmlinux)})


def _modules(system: CrashedSystem, vmlinux: Path | None) -> list[Path]:
    try:
        release = system.vmcoreinfo.text("OSRELEASE")
        wanted = {module.name: module.build_id for module in system.modules.modules}
    except UNREADABLE_KERNEL:
        return []
    return find_modules(wanted, module_directories(release, vmlinux)) if wanted else []


def _readable(debugger: Debugger, system: CrashedSystem, file: Path, directory: Path, output: Output) -> Path:
    """The dump if the debugger reads it right, else a copy that it does, which is made unless it is there."""
    own = system.dump
    changed, added = with_registers(system, every_cpu=own.kind is Kind.KDUMP)
    if debugger.reads(own, added, changed is not own):
        return file
    format_ = debugger.format(system)
    copy = directory / f"{file.name}.for-{debugger.name}"
    if copy.exists():
        if not _is_of_same_crash(copy, own):
            raise FadumpError(f"{copy} is there and is no copy of {file}: remove it, or give --keep DIR")
        return copy
    options = SaveOptions(format=format_, registers=debugger.prepare is None)
    prepared = system if debugger.prepare is None else debugger.prepare(system)
    destination = Destination.take(copy, options, [file])
    output.aside(f"{file}: {debugger.name} doesn't find everything in it; saving what it reads as {copy}")
    try:
        with Progress.step(f"Saving {copy}", unit="bytes") as step:
            saved = save_dump(prepared, destination, options, tell=lambda done, total: step.update(done, total=total))
    except BaseException:
        for begun in destination.begun():
            begun.unlink(missing_ok=True)
        raise
    if saved.dmesg is not None:
        saved.dmesg.unlink(missing_ok=True)
    return copy


def _registers(dump: Dump) -> set[tuple[int, ...]]:
    statuses = (decode_prstatus(note, dump.byte_order) for note in dump.notes if note.is_prstatus())
    return {tuple(status.registers.values()) for status in statuses}


def _is_of_same_crash(path: Path, dump: Dump) -> bool:
    """Whether a file is a whole dump of the same crash."""
    try:
        with open_system(path) as other:
            ours, theirs = (_registers(one) for one in (dump, other.dump))
            return not other.dump.damage and other.vmcoreinfo_text == dump.vmcoreinfo and ours == theirs
    except (FadumpError, OSError):
        return False
