"""Where the members of some structures are, by the debug information of a vmlinux.

Specification: DWARF, versions 4 and 5; the numbers are in :mod:`fadump.abi.linux.dwarf`. Only what is needed to find
members by name is read: compile units in turn, until every structure has been found. In a kernel that takes few of
them, as almost every file includes its core headers. Attributes that take no bytes of an entry are read once, with
their abbreviation, so that a walk takes no more steps than a unit has bytes; what entries share is counted.
"""

from collections.abc import Mapping
from typing import NamedTuple

from fadump.abi.layout import ByteOrder
from fadump.abi.linux import dwarf as abi
from fadump.errors import FadumpError, FormatError
from fadump.limits import MOST_ABBREVIATIONS, MOST_DEBUG_BYTES, MOST_NAME_BYTES, MOST_NAMES_BYTES, Budget
from fadump.linux.vmlinux.elf import ElfFile

_MOST_UNITS = 64
_MOST_LEB128_BYTES = 10
_ADDRESS_BYTES = (4, 8)
_LONG_LENGTH = 0xFFFF_FFFF

Offsets = Mapping[str, int]
"""Offsets in bytes, by "struct.member"."""


class NoDebugInformationError(FadumpError, LookupError):
    """A vmlinux doesn't say where the members of a structure are."""


def read_offsets(elf: ElfFile, structs: frozenset[str]) -> Offsets:
    """The offsets of all named members of these structures.

    :raises NoDebugInformationError: the file doesn't have them.
    :raises FormatError: it makes no sense, or has a form of DWARF that isn't supported.
    :raises OSError: it can't be read.
    """
    info, abbreviations = elf.named(".debug_info"), elf.named(".debug_abbrev")
    if not info or not abbreviations:
        raise NoDebugInformationError("the vmlinux has no debug information: give one that was built with it")
    names = Names(elf)
    found: dict[str, dict[str, int]] = {}
    reader = Reader(info, elf.byte_order)
    tables = Abbreviations(abbreviations, elf.byte_order)
    budget = Budget("bytes of the vmlinux's debug information", MOST_DEBUG_BYTES)
    for _ in range(_MOST_UNITS):
        if reader.at >= len(info):
            break
        unit = read_unit(reader)
        if unit.is_compile:
            if unit.address_bytes not in _ADDRESS_BYTES:
                raise FormatError("DWARF with addresses of unknown size", offset=reader.at, found=unit.address_bytes)
            budget.spend(unit.end - reader.at, offset=reader.at)
            found |= Walk(reader, unit, tables.at(unit.abbreviations), names).structs(structs - found.keys())
        reader.at = unit.end
        if structs == found.keys():
            return {f"{name}.{member}": at for name, members in found.items() for member, at in members.items()}
    missing = ", ".join(sorted(structs - found.keys()))
    raise NoDebugInformationError(f"the vmlinux's debug information doesn't have struct {missing} in its first files")


class Unit(NamedTuple):
    """A unit of debug information, from ``start`` to ``end`` of the section; ``abbreviations`` is where its are."""

    start: int
    end: int
    abbreviations: int
    address_bytes: int
    offset_bytes: int
    is_compile: bool


class Attribute(NamedTuple):
    """An attribute that entries have, by its number, and the form of its value."""

    name: int
    form: int


class Abbreviation(NamedTuple):
    """``attributes`` are those with bytes in each entry.

    ``constants`` are the values that the abbreviation itself has, of :data:`~fadump.abi.linux.dwarf.ATTRIBUTES`.
    """

    tag: int
    has_children: bool
    attributes: list[Attribute]
    constants: Mapping[int, int]


class Reader:
    """Reads successive numbers from a section."""

    def __init__(self, data: bytes, byte_order: ByteOrder, at: int = 0) -> None:
        self.data = data
        self.at = at
        self._byte_order = byte_order

    def number(self, size_bytes: int) -> int:
        """Read an unsigned number."""
        self.skip(size_bytes)
        return int.from_bytes(self.data[self.at - size_bytes : self.at], self._byte_order)

    def leb128(self) -> int:
        """Read an unsigned number; of a signed one, the sign is lost."""
        value = 0
        for index in range(_MOST_LEB128_BYTES):
            byte = self.number(1)
            value |= (byte & 0x7F) << 7 * index
            if not byte & 0x80:
                return value
        raise FormatError("DWARF number too long", offset=self.at)

    def string(self, most: int) -> bytes:
        """Read a string up to its zero byte, which is before ``most``."""
        end = self.data.find(b"\0", self.at, most)
        if end < 0:
            raise FormatError("DWARF string without an end", offset=self.at)
        start, self.at = self.at, end + 1
        return self.data[start:end]

    def skip(self, size_bytes: int) -> None:
        """Go on behind so many bytes."""
        if self.at + size_bytes > len(self.data):
            raise FormatError("DWARF cut short", offset=self.at, expected=size_bytes, found=len(self.data) - self.at)
        self.at += size_bytes


def read_unit(reader: Reader) -> Unit:
    """Read a unit's header. Of versions 2 and 3, kernels up to 5.11 have their assembler files, which have no types.

    :raises FormatError: it is cut short, or of another version.
    """
    start = reader.at
    length, offset_bytes = reader.number(4), 4
    if length == _LONG_LENGTH:
        length, offset_bytes = reader.number(8), 8
    end = reader.at + length
    if end > len(reader.data):
        raise FormatError("DWARF unit cut short", offset=reader.at, expected=length, found=len(reader.data) - reader.at)
    version = reader.number(2)
    if version in (2, 3, 4):
        abbreviations = reader.number(offset_bytes)
        return Unit(start, end, abbreviations, reader.number(1), offset_bytes, is_compile=version == 4)
    if version == 5:
        type_, address_bytes = reader.number(1), reader.number(1)
        return Unit(start, end, reader.number(offset_bytes), address_bytes, offset_bytes, type_ == abi.UT_COMPILE)
    raise FormatError("DWARF of another version", offset=reader.at - 2, expected="4 or 5", found=version)


class Abbreviations:
    """The tables of abbreviations, each read once, and all together no more than the section has bytes."""

    def __init__(self, section: bytes, byte_order: ByteOrder) -> None:
        self._section = section
        self._byte_order = byte_order
        self._tables: dict[int, dict[int, Abbreviation]] = {}
        self._budget = Budget("abbreviations in the vmlinux's debug information", MOST_ABBREVIATIONS)
        self._bytes = Budget("bytes of the vmlinux's abbreviations, in tables that overlap", len(section))

    def at(self, offset: int) -> dict[int, Abbreviation]:
        """The table at an offset, by the abbreviations' codes."""
        if offset not in self._tables:
            reader = Reader(self._section, self._byte_order, offset)
            self._tables[offset] = self._read(reader)
            self._bytes.spend(reader.at - offset, offset=offset)
        return self._tables[offset]

    def _read(self, reader: Reader) -> dict[int, Abbreviation]:
        table: dict[int, Abbreviation] = {}
        while code := reader.leb128():
            tag, has_children = reader.leb128(), bool(reader.number(1))
            self._budget.spend(offset=reader.at)
            attributes = []
            constants = {}
            while True:
                name, form = reader.leb128(), reader.leb128()
                if not name and not form:
                    break
                self._budget.spend(offset=reader.at)
                if form not in (abi.FORM_IMPLICIT_CONST, abi.FORM_FLAG_PRESENT):
                    attributes.append(Attribute(name, form))
                    continue
                constant = reader.leb128() if form == abi.FORM_IMPLICIT_CONST else 1
                if name in abi.ATTRIBUTES:
                    constants[name] = constant
            table[code] = Abbreviation(tag, has_children, attributes, constants)
        return table


class Names:
    """The strings that entries refer to. Many may refer to one, so all that is read is counted together."""

    def __init__(self, elf: ElfFile) -> None:
        """:raises OSError: the file can't be read."""
        self.table = elf.named(".debug_str") or b""
        self._sections = {abi.FORM_STRP: self.table, abi.FORM_LINE_STRP: elf.named(".debug_line_str") or b""}
        self._budget = Budget("bytes in the names of the vmlinux's debug information", MOST_NAMES_BYTES)

    def __contains__(self, form: int) -> bool:
        return form in self._sections

    def at(self, form: int, offset: int) -> bytes:
        """The string that a value of a form refers to; of one that is longer than any name, its beginning.

        :raises FormatError: it is outside of its section.
        """
        strings = self._sections[form]
        end = strings.find(b"\0", offset, offset + MOST_NAME_BYTES)
        if end < 0 and offset + MOST_NAME_BYTES > len(strings):
            raise FormatError("DWARF string outside of its section", offset=offset)
        end = end if end >= 0 else offset + MOST_NAME_BYTES
        self._budget.spend(end - offset, offset=offset)
        return strings[offset:end]


class Walk:
    """One walk over the entries of a unit; ``reader`` is at the first one."""

    def __init__(self, reader: Reader, unit: Unit, table: dict[int, Abbreviation], names: Names) -> None:
        self._reader = reader
        self._unit = unit
        self._table = table
        self._names = names

    def structs(self, wanted: frozenset[str]) -> dict[str, dict[str, int]]:
        """The members of the ``wanted`` structures that the unit defines."""
        found: dict[str, dict[str, int]] = {}
        depth, inside, members_at = 0, "", -1
        while self._reader.at < self._unit.end and (depth or not found.keys() >= wanted):
            code = self._reader.leb128()
            if not code:
                depth -= 1
                members_at = -1 if depth < members_at else members_at
                if depth <= 0:
                    break
                continue
            entry = self.abbreviation(code)
            name, location = self._name_and_location(entry)
            if depth == members_at and entry.tag == abi.TAG_MEMBER and name and location is not None:
                found[inside].setdefault(name, location)
            depth += entry.has_children
            if entry.tag == abi.TAG_STRUCTURE and name in wanted and entry.has_children:  # not a declaration
                inside, members_at = name, depth
                found.setdefault(name, {})
        return found

    def abbreviation(self, code: int) -> Abbreviation:
        """The abbreviation of the entry that the reader is in.

        :raises FormatError: there is none of this code.
        """
        entry = self._table.get(code)
        if entry is None:
            raise FormatError(f"DWARF entry of abbreviation {code}, which there is not,", offset=self._reader.at)
        return entry

    def values(self, entry: Abbreviation) -> dict[int, int | bytes]:
        """Those of :data:`~fadump.abi.linux.dwarf.ATTRIBUTES` that an entry has, by their names.

        :raises FormatError: they make no sense.
        """
        values: dict[int, int | bytes] = dict(entry.constants)
        for attribute in entry.attributes:
            value = self._value(attribute, wanted=attribute.name == abi.AT_NAME)
            if value is not None and attribute.name in abi.ATTRIBUTES:
                values[attribute.name] = value
        return values

    def _name_and_location(self, entry: Abbreviation) -> tuple[str, int | None]:
        name, location = "", entry.constants.get(abi.AT_MEMBER_LOCATION)
        for attribute in entry.attributes:
            value = self._value(attribute, wanted=attribute.name == abi.AT_NAME)
            if attribute.name == abi.AT_NAME and isinstance(value, bytes):
                name = value.decode("utf-8", "backslashreplace")
            elif attribute.name == abi.AT_MEMBER_LOCATION and isinstance(value, int):
                location = value
        return name, location

    def _value(self, attribute: Attribute, *, wanted: bool) -> int | bytes | None:
        """The value if it is a number, a string or an entry's offset in the section.

        A string in another section is read only if it is ``wanted``.
        """
        form, reader = attribute.form, self._reader
        value: int | bytes | None = None
        if form in abi.FIXED_BYTES:
            value = reader.number(abi.FIXED_BYTES[form])
        elif form in abi.OFFSET_FORMS:
            value = reader.number(self._unit.offset_bytes)
            if wanted and form in self._names:
                return self._names.at(form, value)
        elif form in abi.LEB128_FORMS or form == abi.FORM_SDATA:
            value = reader.leb128()
        elif form == abi.FORM_STRING:
            return reader.string(self._unit.end)
        elif form == abi.FORM_ADDR:
            reader.skip(self._unit.address_bytes)
        elif form in abi.BLOCK_LENGTH_BYTES:
            reader.skip(reader.number(abi.BLOCK_LENGTH_BYTES[form]))
        elif form in abi.LEB128_BLOCK_FORMS:
            reader.skip(reader.leb128())
        else:
            raise FormatError(f"DWARF attribute of unknown form {form:#x}", offset=reader.at)
        if form in abi.UNIT_REFERENCE_FORMS and isinstance(value, int):
            return self._unit.start + value
        return value if form in abi.CONSTANT_FORMS or form == abi.FORM_REF_ADDR else None
