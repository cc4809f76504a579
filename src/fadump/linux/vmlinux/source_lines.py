"""Source lines and inlined callers of kernel addresses, by the DWARF of a vmlinux or a module: pyelftools reads it.

Specification: DWARF 4 and 5, "Line Number Information", "Inlined Subroutines".
"""

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Self

from fadump.abi.linux.page_table import PAGE_OFFSET
from fadump.abi.linux.stack import INSTRUCTION_BYTES
from fadump.errors import FadumpError, SetupError
from fadump.limits import MOST_DEBUG_ENTRIES, Budget
from fadump.linux.cpus.backtrace import Frame
from fadump.linux.cpus.cpu import Cpu
from fadump.linux.vmcoreinfo import Facts
from fadump.linux.vmlinux.placed_module import placed_module
from fadump.linux.vmlinux.symbols import build_id, moved_by
from fadump.vmcore.source import StrPath, open_file

if TYPE_CHECKING:
    from elftools.dwarf.compileunit import CompileUnit
    from elftools.dwarf.die import DIE
    from elftools.dwarf.dwarfinfo import DWARFInfo

_INLINED, _SCOPES = "DW_TAG_inlined_subroutine", {"DW_TAG_lexical_block", "DW_TAG_inlined_subroutine"}
_MOST_ORIGINS = 8
_NONE: Mapping[str, Path] = MappingProxyType({})


class NoLinesError(FadumpError, LookupError):
    """A vmlinux has no debug information that says where its functions' lines are, or it can't be read."""


@dataclass(frozen=True, slots=True)
class SourceLine:
    """A function, and the line of it that runs; ``file`` is relative to the kernel's tree where that is known."""

    function: str
    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.function}() {self.file}:{self.line}"


FrameLines = Mapping[int, Sequence[SourceLine]]
"""The lines of a stack's frames, by their ``pc``."""


def inlined_and_own(lines: FrameLines, frame: Frame) -> tuple[Sequence[SourceLine], SourceLine | None]:
    """What is inlined in a frame's function there, deepest first, and the function's own line; None: it isn't known."""
    found = lines.get(frame.pc, ())
    return (found[:-1], found[-1]) if found else ((), None)


def lines_of_crash(
    cpus: Iterable[Cpu], facts: Facts, vmlinux: StrPath | None, modules: Mapping[str, Path] = _NONE
) -> FrameLines:
    """The lines of the stack that crashed; none where the vmlinux is another kernel's, or has no debug information.

    ``modules`` are the files of modules by their names.

    :raises SetupError: pyelftools is missing.
    :raises OSError: a file can't be read.
    """
    frames = next((cpu.backtrace.frames for cpu in cpus if cpu.crashed), ())
    found = {} if vmlinux is None else dict(_lines_of_kernel(frames, facts, vmlinux))
    for name, path in modules.items():
        found.update(_lines_of_module(frames, name, path))
    return found


def _lines_of_kernel(frames: Sequence[Frame], facts: Facts, vmlinux: StrPath) -> FrameLines:
    try:
        if build_id(vmlinux) != (facts.text("BUILD-ID") if "BUILD-ID" in facts else None):
            return {}
        with SourceLines(vmlinux, moved_by(vmlinux, facts)) as lines:
            return lines.of_frames(frames)
    except SetupError:
        raise
    except FadumpError:
        return {}


def _lines_of_module(frames: Sequence[Frame], name: str, path: Path) -> FrameLines:
    symbols = {
        frame.symbol.name: frame.pc - frame.symbol.offset
        for frame in frames
        if _module_of(frame) == name and frame.symbol
    }
    try:
        with SourceLines(path, image=placed_module(path, symbols)) as lines:
            return lines.of_frames(frames, name)
    except SetupError:
        raise
    except FadumpError:
        return {}


def modules_on(cpus: Iterable[Cpu]) -> AbstractSet[str]:
    """The modules that have functions on the stack that crashed."""
    frames = (frame for cpu in cpus if cpu.crashed for frame in cpu.backtrace.frames)
    return {module for frame in frames if (module := _module_of(frame))}


def _module_of(frame: Frame) -> str:
    return "" if frame.symbol is None else frame.symbol.module


class SourceLines:
    """The lines of one vmlinux. Also a context manager. ``moved`` is by how much the kernel ran above its addresses."""

    def __init__(self, path: StrPath, moved: int = 0, image: bytes | None = None) -> None:
        """``image`` is what to read instead of the file at ``path``.

        :raises SetupError: pyelftools is missing.
        :raises NoLinesError: it has no debug information.
        :raises FadumpError: it is a directory, a pipe or the like.
        :raises OSError: it can't be opened.
        """
        try:
            from elftools.elf.elffile import ELFFile  # noqa: PLC0415 - an optional package
        except ImportError:
            raise SetupError("source lines need pyelftools: pip install 'fadump[lines]'") from None
        self._file: BinaryIO = (
            open(open_file(path), "rb")  # noqa: PTH123, SIM115 - close() has the file
            if image is None
            else io.BytesIO(image)
        )
        self._path, self._moved = path, moved
        self._entries = Budget("entries of debug information", MOST_DEBUG_ENTRIES)
        self._units: dict[int, CompileUnit] = {}
        try:
            elf = ELFFile(self._file)
            has_lines = elf.has_dwarf_info() and elf.get_section_by_name(".debug_aranges") is not None
            self._dwarf: DWARFInfo | None = elf.get_dwarf_info(relocate_dwarf_sections=False) if has_lines else None
        except Exception as error:  # pyelftools trusts what it reads, and damage is any error
            self.close()
            raise NoLinesError(f"{path}: its debug information can't be read: {error}") from error
        if self._dwarf is None:
            self.close()
            raise NoLinesError(f"{path} has no debug information with lines")

    def at(self, address: int) -> Sequence[SourceLine]:
        """What runs at an address: the function that is inlined deepest first; empty if nothing says it.

        For a caller give the address before the one that it goes on at.

        :raises NoLinesError: the debug information makes no sense.
        """
        try:
            return list(self._at(address - self._moved))
        except FadumpError:
            raise
        except Exception as error:  # as above
            raise NoLinesError(f"{self._path}: the lines at {address:#x} can't be read: {error}") from error

    def of_frames(self, frames: Sequence[Frame], module: str = "") -> FrameLines:
        """The lines of a stack's frames that are in a module, or in the kernel itself, by their ``pc``.

        Of a function that has called another, they are those of the call.

        :raises NoLinesError: as :meth:`at`.
        """
        found = {}
        for number, frame in enumerate(frames):
            if frame.pc >= PAGE_OFFSET and _module_of(frame) == module:
                has_called = number > 0 and frame.trap is None
                found[frame.pc] = self.at(frame.pc - (INSTRUCTION_BYTES if has_called else 0))
        return found

    @cached_property
    def _ranges(self) -> Any:  # noqa: ANN401 - pyelftools has no types
        return None if self._dwarf is None else self._dwarf.get_aranges()

    def _at(self, address: int) -> Iterator[SourceLine]:
        offset = None if self._ranges is None else self._ranges.cu_offset_at_addr(address)
        if offset is None or self._dwarf is None:
            return
        if offset not in self._units:
            self._units[offset] = self._dwarf.get_CU_at(offset)
        unit = self._units[offset]
        files = _Files(unit, self._dwarf)
        found = files.line_at(address)
        chain = self._chain(unit, address)
        if found is None or not chain:
            return
        file, line = found
        for die in reversed(chain):
            yield SourceLine(_name(die), files.name(file), line)
            if "DW_AT_call_line" in die.attributes:
                file, line = die.attributes["DW_AT_call_file"].value, die.attributes["DW_AT_call_line"].value

    def _chain(self, unit: "CompileUnit", address: int) -> list["DIE"]:
        """The function that has an address, and those inlined there, outermost first."""
        function = next((die for die in self._children(unit.get_top_DIE()) if self._has(die, address)), None)
        chain = [] if function is None else [function]
        scope = function
        while scope is not None:
            inner = (die for die in self._children(scope) if die.tag in _SCOPES)
            scope = next((die for die in inner if self._has(die, address)), None)
            if scope is not None and scope.tag == _INLINED:
                chain.append(scope)
        return chain

    def _children(self, die: "DIE") -> Iterator["DIE"]:
        for child in die.iter_children():
            self._entries.spend()
            yield child

    def _has(self, die: "DIE", address: int) -> bool:
        if die.tag not in _SCOPES and die.tag != "DW_TAG_subprogram":
            return False
        low, high = die.attributes.get("DW_AT_low_pc"), die.attributes.get("DW_AT_high_pc")
        if low is not None and high is not None:
            end = high.value if high.form == "DW_FORM_addr" else low.value + high.value
            return bool(low.value <= address < end)
        ranges = die.attributes.get("DW_AT_ranges")
        if ranges is None or self._dwarf is None:
            return False
        base = die.cu.get_top_DIE().attributes.get("DW_AT_low_pc")
        start = 0 if base is None else base.value
        lists: Any = self._dwarf.range_lists()
        for entry in lists.get_range_list_at_offset(ranges.value, cu=die.cu):
            if hasattr(entry, "base_address"):
                start = entry.base_address
                continue
            shift = 0 if getattr(entry, "is_absolute", False) else start
            if entry.begin_offset + shift <= address < entry.end_offset + shift:
                return True
        return False

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class _Files:
    """The line table of a compilation unit."""

    def __init__(self, unit: "CompileUnit", dwarf: "DWARFInfo") -> None:
        self._program = dwarf.line_program_for_CU(unit)
        top = unit.get_top_DIE().attributes.get("DW_AT_comp_dir")
        self._tree = "" if top is None else top.value.decode("utf-8", "backslashreplace")

    def line_at(self, address: int) -> tuple[int, int] | None:
        """The file's number and the line of an address."""
        last = None
        for entry in () if self._program is None else self._program.get_entries():
            state = entry.state
            if state is None:
                continue
            if last is not None and not last.end_sequence and last.address <= address < state.address:
                return last.file, last.line
            last = state
        return None

    def name(self, number: int) -> str:
        """A file's name, below the kernel's tree if it is there."""
        if self._program is None:
            return "?"
        header = self._program.header
        first = 0 if header["version"] >= 5 else 1
        files, directories = header["file_entry"], header["include_directory"]
        if not 0 <= number - first < len(files):
            return "?"
        file = files[number - first]
        at = file.dir_index - first
        directory = directories[at].decode("utf-8", "backslashreplace") if 0 <= at < len(directories) else ""
        path = PurePosixPath(self._tree, directory, file.name.decode("utf-8", "backslashreplace"))
        return str(path.relative_to(self._tree)) if path.is_relative_to(self._tree) else str(path)


def _name(die: "DIE") -> str:
    """The name of a function, which may be that of what it is an instance of."""
    for _step in range(_MOST_ORIGINS):
        name = die.attributes.get("DW_AT_name")
        if name is not None:
            return str(name.value.decode("utf-8", "backslashreplace"))
        origin = next(
            (word for word in ("DW_AT_abstract_origin", "DW_AT_specification") if word in die.attributes), None
        )
        if origin is None:
            break
        die = die.get_DIE_from_attribute(origin)
    return "?"
