"""The kernel's types by the debug information of its vmlinux, which has the types of variables too.

Specification: DWARF, versions 4 and 5; the numbers are in :mod:`fadump.abi.linux.dwarf`. A kernel's debug information
has 100 MiB and more, so it isn't read from end to end: a name is looked for in the table of strings, then where that
is referred to, and only the compile units with such a place are read. A type's number is its entry's offset in the
section, times eight; the rest counts the dimensions of an array. All looking and reading is counted together.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from fadump.abi.layout import STRUCT_ORDER, ByteOrder
from fadump.abi.linux import dwarf as abi
from fadump.errors import FormatError
from fadump.limits import (
    MOST_DEBUG_BYTES,
    MOST_DEBUG_ENTRIES,
    MOST_DEBUG_UNITS,
    MOST_NAME_PLACES,
    MOST_SEARCHED_BYTES,
    MOST_TYPE_DEPTH,
    Budget,
)
from fadump.linux.types.contract import POINTER_BYTES, Kind, Member, Type, Types
from fadump.linux.vmlinux.dwarf import (
    Abbreviation,
    Abbreviations,
    Names,
    NoDebugInformationError,
    Reader,
    Unit,
    Walk,
    read_unit,
)
from fadump.linux.vmlinux.elf import ElfFile

_STRUCTURES = frozenset({abi.TAG_STRUCTURE, abi.TAG_UNION})
_NAMED = (
    frozenset({*_STRUCTURES, abi.TAG_ENUMERATION}),
    frozenset({abi.TAG_TYPEDEF, abi.TAG_BASE_TYPE}),
)
"""Of types of one name, which is found first."""
_ALIASES = frozenset({abi.TAG_TYPEDEF, abi.TAG_CONST, abi.TAG_VOLATILE, abi.TAG_RESTRICT, abi.TAG_ATOMIC})
_KINDS = {
    abi.TAG_STRUCTURE: Kind.STRUCT,
    abi.TAG_UNION: Kind.STRUCT,
    abi.TAG_ENUMERATION: Kind.ENUM,
    abi.TAG_BASE_TYPE: Kind.NUMBER,
    abi.TAG_SUBROUTINE_TYPE: Kind.FUNCTION,
}
_KEPT = frozenset(
    {*_KINDS, *_ALIASES, abi.TAG_POINTER, abi.TAG_ARRAY, abi.TAG_MEMBER, abi.TAG_SUBRANGE, abi.TAG_ENUMERATOR}
)
_MOST_UNITS = 8
"""How many of a name's units are read, until one defines it."""
_MOST_PLACES = 1 << 14
_MOST_TAILS = 1 << 7
"""How many places of a name are tried, in the entries and in the strings."""
_MOST_LENGTH = 1 << 32
_DIMENSION_BITS = 3


@dataclass(slots=True)
class _Entry:
    """An entry that says something of types."""

    tag: int
    values: dict[int, int | bytes]
    children: list["_Entry"] = field(default_factory=list)

    def number(self, attribute: int) -> int | None:
        value = self.values.get(attribute)
        return value if isinstance(value, int) else None

    @property
    def name(self) -> str:
        value = self.values.get(abi.AT_NAME)
        return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else ""

    @property
    def is_declaration(self) -> bool:
        return bool(self.number(abi.AT_DECLARATION))


@dataclass(frozen=True, slots=True)
class _ReadUnit:
    """A unit's entries by their offsets, and its variables."""

    entries: dict[int, _Entry]
    variables: list[_Entry]


class DwarfTypes(Types):
    """The types of a vmlinux."""

    source = "the vmlinux's debug information"

    def __init__(self, elf: ElfFile) -> None:
        """Read the sections; ``elf`` isn't needed afterwards.

        :raises NoDebugInformationError: the file has none.
        :raises FormatError: it makes no sense, or has a form of DWARF that isn't supported.
        :raises OSError: it can't be read.
        """
        info, abbreviations = elf.named(".debug_info"), elf.named(".debug_abbrev")
        if not info or not abbreviations:
            raise NoDebugInformationError("the vmlinux has no debug information: give one that was built with it")
        self._info = info
        self._byte_order: ByteOrder = elf.byte_order
        self._tables = Abbreviations(abbreviations, elf.byte_order)
        self._names = Names(elf)
        self._budget = Budget("bytes of the vmlinux's debug information", MOST_DEBUG_BYTES)
        self._entries = Budget("entries of the vmlinux's debug information", MOST_DEBUG_ENTRIES)
        self._searched = Budget("bytes that are searched for names of types", MOST_SEARCHED_BYTES)
        self._places_tried = Budget("places where names of types may be", MOST_NAME_PLACES)
        self._units: list[Unit] = []
        self._bodies: list[int] = []
        reader = Reader(info, elf.byte_order)
        units = Budget("units of the vmlinux's debug information", MOST_DEBUG_UNITS)
        while reader.at < len(info):
            units.spend(offset=reader.at)
            unit = read_unit(reader)
            if unit.is_compile:
                self._units.append(unit)
                self._bodies.append(reader.at)
            reader.at = unit.end
        self._read: dict[int, _ReadUnit] = {}
        self._found: dict[tuple[str, bool], int | None] = {}
        self._resolved: dict[int, Type] = {}
        self._before: dict[tuple[int, frozenset[int]], Mapping[tuple[int, int], frozenset[bytes]]] = {}

    def find(self, name: str) -> int | None:
        key = (name, False)
        if key not in self._found:
            self._found[key] = self._first_type(name)
        return self._found[key]

    def variable(self, name: str) -> int | None:
        key = (name, True)
        if key not in self._found:
            self._found[key] = self._first_variable(name)
        return self._found[key]

    def resolve(self, ref: int) -> Type:
        if ref not in self._resolved:
            self._resolved[ref] = self._resolve(ref)
        return self._resolved[ref]

    def _resolve(self, ref: int) -> Type:
        for _ in range(MOST_TYPE_DEPTH):
            if not ref:
                return Type(0, Kind.VOID, "void", 0)
            entry = self._entry(ref)
            if entry.tag not in _ALIASES:
                whole = self.find(entry.name) if entry.is_declaration else None
                return self._type(ref, entry) if whole is None else self._type(whole, self._entry(whole))
            ref = self._target(entry)
        raise FormatError("DWARF type that is a name for a name without an end", offset=ref >> _DIMENSION_BITS)

    def members(self, ref: int) -> Sequence[Member]:
        if not ref or self._entry(ref).tag not in _STRUCTURES:
            return ()
        entry = self._entry(ref)
        return [self._member_of(child) for child in entry.children if child.tag == abi.TAG_MEMBER]

    def enumerators(self, ref: int) -> Sequence[tuple[str, int]]:
        if not ref or self._entry(ref).tag != abi.TAG_ENUMERATION:
            return ()
        children = (child for child in self._entry(ref).children if child.tag == abi.TAG_ENUMERATOR)
        values = ((child.name, child.number(abi.AT_CONST_VALUE)) for child in children)
        return [(name, value) for name, value in values if value is not None]

    def _first_type(self, name: str) -> int | None:
        for tags in _NAMED:
            for number in self._units_with(name, tags):
                for offset, entry in self._unit(number).entries.items():
                    if entry.tag in tags and entry.name == name and not entry.is_declaration:
                        return offset << _DIMENSION_BITS
        return None

    def _first_variable(self, name: str) -> int | None:
        """The type of a variable's definition, or of a declaration if that is all."""
        best = None
        for number in self._units_with(name, frozenset({abi.TAG_VARIABLE})):
            entries = self._unit(number).entries
            for variable in self._unit(number).variables:
                specified = entries.get(variable.number(abi.AT_SPECIFICATION) or 0)
                if name not in (variable.name, "" if specified is None else specified.name):
                    continue
                ref = self._target(variable) or (0 if specified is None else self._target(specified))
                if ref and (best is None or self.size_of(self.resolve(ref))):
                    best = ref
                    if not variable.is_declaration and self.size_of(self.resolve(ref)):
                        return ref
        return best

    def _units_with(self, name: str, tags: frozenset[int]) -> Iterator[int]:
        """The numbers of units that have an entry of one of these kinds with this name, the first ones."""
        found: set[int] = set()
        for place in self._places(name):
            number = bisect_right(self._units, place, key=_start) - 1
            if number in found or not 0 <= number < len(self._units):
                continue
            if not self._is_name_of(place, self._units[number], tags):
                continue
            found.add(number)
            yield number
            if len(found) == _MOST_UNITS:
                return

    def _places(self, name: str) -> Iterator[int]:
        """Where entries may refer to a name, or have it."""
        wanted = name.encode() + b"\0"
        if len(wanted) <= 4:  # a compiler puts those in the entry itself
            yield from sorted(self._all(self._info, wanted), key=self._ends_a_longer_name)
        table = self._names.table
        whole = table.find(b"\0" + wanted) + 1
        places = [whole] if whole else []
        places += islice(self._all(table, wanted), _MOST_TAILS)  # a linker makes a name the end of a longer one
        for at in dict.fromkeys(places):
            yield from self._all(self._info, at.to_bytes(4, self._byte_order))

    def _ends_a_longer_name(self, place: int) -> bool:
        """Whether that is likely: an abbreviation's number may be a letter, too."""
        before = self._info[place - 1 : place]
        return before.isalnum() or before == b"_"

    def _all(self, data: bytes, wanted: bytes) -> Iterator[int]:
        """Where some bytes are, the first places."""
        self._searched.spend(len(data))
        at = -1
        for _ in range(_MOST_PLACES):
            at = data.find(wanted, at + 1)
            if at < 0:
                return
            self._places_tried.spend()
            yield at

    def _is_name_of(self, place: int, unit: Unit, tags: frozenset[int]) -> bool:
        """Whether an entry of one of these kinds can have its name at a place, by what is in front of it."""
        key = unit.abbreviations, tags
        if key not in self._before:
            codes: defaultdict[tuple[int, int], set[bytes]] = defaultdict(set)
            for number, abbreviation in self._tables.at(unit.abbreviations).items():
                bytes_before = _bytes_before_name(abbreviation) if abbreviation.tag in tags else None
                if bytes_before is not None:
                    code = _leb128(number)
                    codes[bytes_before, len(code)].add(code)
            self._before[key] = {where: frozenset(found) for where, found in codes.items()}
        for (bytes_before, code_bytes), found in self._before[key].items():
            self._places_tried.spend()
            end = place - bytes_before
            if self._info[end - code_bytes : end] in found:
                return True
        return False

    def _entry(self, ref: int) -> _Entry:
        offset = ref >> _DIMENSION_BITS
        number = bisect_right(self._units, offset, key=_start) - 1
        entry = self._unit(number).entries.get(offset) if 0 <= number < len(self._units) else None
        if entry is None:
            raise FormatError("DWARF entry that is no type, or isn't there", offset=offset)
        return entry

    def _unit(self, number: int) -> _ReadUnit:
        if number not in self._read:
            unit, body = self._units[number], self._bodies[number]
            self._budget.spend(unit.end - body, offset=body)
            reader = Reader(self._info, self._byte_order, body)
            walk = Walk(reader, unit, self._tables.at(unit.abbreviations), self._names)
            self._read[number] = _read_entries(walk, reader, unit, self._entries)
        return self._read[number]

    def _target(self, entry: _Entry) -> int:
        return (entry.number(abi.AT_TYPE) or 0) << _DIMENSION_BITS

    def _type(self, ref: int, entry: _Entry) -> Type:
        if entry.tag == abi.TAG_POINTER:
            return Type(ref, Kind.POINTER, "", POINTER_BYTES, target=self._target(entry))
        if entry.tag == abi.TAG_ARRAY:
            lengths = [_length(child) for child in entry.children if child.tag == abi.TAG_SUBRANGE]
            dimension = ref & (1 << _DIMENSION_BITS) - 1
            is_last = dimension + 1 >= min(len(lengths), 1 << _DIMENSION_BITS)
            target = self._target(entry) if is_last else ref + 1
            return Type(ref, Kind.ARRAY, "", 0, target=target, length=lengths[dimension] if lengths else 0)
        kind = _KINDS.get(entry.tag)
        if kind is None:
            raise FormatError("DWARF entry that is no type", offset=ref >> _DIMENSION_BITS)
        is_signed = entry.number(abi.AT_ENCODING) in abi.ENCODINGS_SIGNED
        return Type(ref, kind, entry.name, entry.number(abi.AT_BYTE_SIZE) or 0, is_signed=is_signed)

    def _member_of(self, entry: _Entry) -> Member:
        bits = entry.number(abi.AT_BIT_SIZE) or 0
        at = entry.number(abi.AT_DATA_BIT_OFFSET)
        if at is None:
            at = 8 * (entry.number(abi.AT_MEMBER_LOCATION) or 0)
            from_top = entry.number(abi.AT_BIT_OFFSET)
            if bits and from_top is not None:  # as DWARF 3 counts: from the most significant bit
                size_bits = 8 * (entry.number(abi.AT_BYTE_SIZE) or 4)
                at += size_bits - from_top - bits if STRUCT_ORDER[self._byte_order] == "<" else from_top
        return Member(entry.name, self._target(entry), at, bits)


def _read_entries(walk: Walk, reader: Reader, unit: Unit, budget: Budget) -> _ReadUnit:
    entries: dict[int, _Entry] = {}
    variables: list[_Entry] = []
    parents: list[_Entry | None] = []
    while reader.at < unit.end:
        offset = reader.at
        code = reader.leb128()
        if not code:
            if parents:
                parents.pop()
            if not parents:
                break
            continue
        abbreviation = walk.abbreviation(code)
        budget.spend(offset=offset)
        entry = None
        values = walk.values(abbreviation)
        if abbreviation.tag in _KEPT or abbreviation.tag == abi.TAG_VARIABLE:
            entry = _Entry(abbreviation.tag, values)
            entries[offset] = entry
            if parents and parents[-1] is not None:
                parents[-1].children.append(entry)
            elif abbreviation.tag == abi.TAG_VARIABLE:
                variables.append(entry)
        if abbreviation.has_children:
            parents.append(entry)
    return _ReadUnit(entries, variables)


def _bytes_before_name(abbreviation: Abbreviation) -> int | None:
    """How many bytes an entry has between its code and its name; None if it has none, or that varies.

    A type that is only declared isn't looked for, but a variable is.
    """
    if abbreviation.tag != abi.TAG_VARIABLE and abi.AT_DECLARATION in abbreviation.constants:
        return None
    size_bytes = 0
    for attribute in abbreviation.attributes:
        if attribute.name == abi.AT_NAME:
            return size_bytes
        if attribute.form not in abi.FIXED_BYTES:
            return None
        size_bytes += abi.FIXED_BYTES[attribute.form]
    return None


def _leb128(number: int) -> bytes:
    encoded = bytearray()
    while number >= 0x80:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*encoded, number])


def _length(subrange: _Entry) -> int:
    """The elements of an array; 0 if it doesn't say, as that of a flexible one."""
    count = subrange.number(abi.AT_COUNT)
    if count is None:
        last = subrange.number(abi.AT_UPPER_BOUND)
        count = 0 if last is None else last + 1
    return count if count < _MOST_LENGTH else 0  # -1, whose sign is lost


def _start(unit: Unit) -> int:
    return unit.start
