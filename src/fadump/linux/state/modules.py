"""The modules of the crashed kernel.

After the last step of "follow one crash" in docs/architecture.md. Linux: struct module in include/linux/module.h,
m_show() in kernel/module/procfs.c, add_notes_attrs() in kernel/module/sysfs.c. Where members are is said by the
kernel's types.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType

from fadump.errors import FormatError, LimitError
from fadump.limits import MOST_MODULES, Budget
from fadump.linux.memory import UNREADABLE_ADDRESS, KernelMemory
from fadump.linux.state.taint import taint_letters
from fadump.linux.symbols.table import SymbolTable
from fadump.linux.types.contract import POINTER_BYTES, Types, UnknownTypeError
from fadump.linux.types.lists import list_nodes
from fadump.linux.types.objects import PathError
from fadump.linux.types.structure import Structure, Values, string_at
from fadump.memory.ranges import Range
from fadump.printable import first_of

_WANTED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"taints": ("taints",), "version": ("version",), "build_id": ("build_id",), "notes": ("notes_attrs",)}
)
_STATES = ("live", "coming", "going", "unformed")
"""enum module_state."""
_KINDS_OF_MEMORY = 7
"""MOD_TEXT first, since ac3b43283923 ("module: replace module_layout with module_memory") (v6.4)."""
_MOST_NOTES = 64
_BUILD_ID = ".note.gnu.build-id"
_MOST_BUILD_ID_BYTES = 64


@dataclass(frozen=True, slots=True)
class Module:
    """A module. ``address`` is its text's, ``size_bytes`` all that it takes, as /proc/modules has them.

    ``state`` is "live", "coming" (being loaded) or "going"; ``taint`` are letters, as "OE". What isn't known of version
    and build id is None. ``memory`` is where it is, by virtual addresses, text first; ``at`` is its struct module.
    """

    name: str
    address: int
    size_bytes: int
    state: str
    taint: str
    version: str | None
    build_id: str | None
    memory: tuple[Range, ...]
    at: int


@dataclass(frozen=True, slots=True)
class ModuleList:
    """All modules, the one loaded last first; and a sentence for each part of them that can't be read."""

    modules: tuple[Module, ...]
    left_out: tuple[str, ...] = ()


def read_modules(memory: KernelMemory, symbols: SymbolTable, types: Types) -> ModuleList:
    """All modules.

    :raises UnknownSymbolError: the kernel has no list of them.
    :raises UnknownTypeError: its types lack a member that is needed.
    :raises FormatError: they make no sense.
    """
    reader = _Reader(memory, types)
    nodes = list_nodes(memory, symbols.address("modules"), Budget("modules", MOST_MODULES))
    left_out = [] if nodes.broken is None else [f"some modules can't be read: {nodes.broken}"]
    modules = []
    for node in nodes.nodes:
        try:
            modules.append(reader.at(node - reader.link))
        except (*UNREADABLE_ADDRESS, LimitError) as error:
            left_out.append(f"the module at {node - reader.link:#x} can't be read: {error}")
    return ModuleList(tuple(modules), tuple(first_of(left_out)))


class _Reader:
    def __init__(self, memory: KernelMemory, types: Types) -> None:
        self._memory = memory
        self._module = Structure(
            types,
            "module",
            {"list": "list", "name": "name", "state": "state"},
            {**_WANTED, **_memory_paths()},
        )
        self.link = self._module.offset("list")
        self._build_ids: _BuildIds | None = None
        with suppress(UnknownTypeError, PathError):
            self._build_ids = _BuildIds(memory, types)

    def at(self, address: int) -> Module:
        values = self._module.read(self._memory, address)
        ranges = tuple(_ranges(values))
        state = values.count("state")
        own_id, by_notes = values["build_id"], self._build_ids
        if isinstance(own_id, bytes):
            build_id: str | None = own_id.hex()
        else:
            build_id = None if by_notes is None else by_notes.of(values.number("notes"))
        return Module(
            name=values.text("name"),
            address=ranges[0].start if ranges else 0,
            size_bytes=sum(range_.size_bytes for range_ in ranges),
            state=_STATES[state] if state < len(_STATES) else "unknown",
            taint=taint_letters(values.count("taints")),
            version=string_at(self._memory, values.number("version")),
            build_id=build_id,
            memory=ranges,
            at=address,
        )


def _memory_paths() -> dict[str, tuple[str, ...]]:
    paths: dict[str, tuple[str, ...]] = {}
    for kind in range(_KINDS_OF_MEMORY):
        older = {0: "core_layout", 1: "init_layout"}.get(kind)
        for name in ("base", "size"):
            paths[f"{name}{kind}"] = (f"mem[{kind}].{name}", *([] if older is None else [f"{older}.{name}"]))
    return paths


def _ranges(values: Values) -> Iterator[Range]:
    for kind in range(_KINDS_OF_MEMORY):
        base, size = values.number(f"base{kind}"), values.number(f"size{kind}")
        if base and size:
            yield Range.sized(base, size)


class _BuildIds:
    """Build ids by the notes of modules that are in sysfs."""

    def __init__(self, memory: KernelMemory, types: Types) -> None:
        self._memory = memory
        members = {"name": "attr.name", "size": "size", "data": "private"}
        self._attribute = Structure(types, "bin_attribute", members)
        # newer kernels have no count of them, but pointers to them in a group, up to a NULL
        more = {"count": "notes", "group": "grp.bin_attrs"}
        self._notes = Structure(types, "module_notes_attrs", {"attrs": "attrs"}, more)

    def of(self, notes: int | None) -> str | None:
        if not notes:
            return None
        try:
            return next((found for at in self._attributes(notes) if (found := self._build_id(at))), None)
        except (*UNREADABLE_ADDRESS, FormatError):
            return None

    def _attributes(self, notes: int) -> Iterator[int]:
        """Where the attributes are, one for each note section."""
        values = self._notes.read(self._memory, notes)
        group = values.number("group")
        if group is None:
            first = notes + self._notes.offset("attrs")
            yield from (first + n * self._attribute.size_bytes for n in range(min(values.count("count"), _MOST_NOTES)))
            return
        for number in range(_MOST_NOTES):
            attribute = self._memory.word(group + number * POINTER_BYTES) if group else 0
            if not attribute:
                return
            yield attribute

    def _build_id(self, attribute: int) -> str | None:
        values = self._attribute.read(self._memory, attribute)
        if string_at(self._memory, values.number("name")) != _BUILD_ID:
            return None
        at = values.count("data")
        name_bytes, id_bytes, _type = self._memory.unpack("III", at)
        if id_bytes > _MOST_BUILD_ID_BYTES or name_bytes > _MOST_BUILD_ID_BYTES:
            return None
        return self._memory.read(at + 12 + -(-name_bytes // 4) * 4, id_bytes).hex()
