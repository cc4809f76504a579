"""Members of the kernel's structures, found once and read together.

What differs between kernels is decided by what their types have: a member may have several paths, of which the first
that there is counts. One that there isn't at all is None when it is read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fadump.linux.memory import UNREADABLE_ADDRESS, KernelMemory
from fadump.linux.types.contract import Kind, Type, Types, UnknownTypeError
from fadump.linux.types.objects import PathError, parse_path

_MOST_STRING_BYTES = 4096
_NUMBERS = (Kind.NUMBER, Kind.ENUM, Kind.POINTER)


@dataclass(frozen=True, slots=True)
class Place:
    """Where something is in a structure, in bytes."""

    offset: int
    size_bytes: int
    type: Type


def place_of(types: Types, type_name: str, path: str) -> Place:
    """Where a path such as ``thread_info.cpu`` or ``mem[0].base`` leads to within a structure.

    :raises UnknownTypeError: the kernel has no such type or member.
    :raises PathError: it leads out of the structure, or to a bit field.
    :raises FormatError: the types make no sense.
    """
    type_, offset = types.named(type_name), 0
    for part in parse_path(path):
        if isinstance(part, str):
            member = types.member(type_, part)
            if member.bits:
                raise PathError(f"{type_name}.{path} is a bit field")
            offset += member.offset
            type_ = types.resolve(member.ref)
        elif isinstance(part, int) and type_.kind is Kind.ARRAY:
            element = types.resolve(type_.target)
            offset += part * types.size_of(element)
            type_ = element
        else:
            raise PathError(f"{type_name}.{path} is no path to one member")
    return Place(offset, types.size_of(type_), type_)


class Values(dict[str, int | bytes | None]):
    """What one object has in the members that were asked for."""

    def number(self, name: str) -> int | None:
        """A number or a pointer; None: the kernel has no such member."""
        value = self[name]
        return value if isinstance(value, int) else None

    def count(self, name: str) -> int:
        """A number that every kernel has."""
        return self.number(name) or 0

    def text(self, name: str) -> str:
        """An array of characters, up to a zero byte."""
        value = self[name]
        return value.partition(b"\0")[0].decode("utf-8", "backslashreplace") if isinstance(value, bytes) else ""


class Structure:
    """Some members of a structure, each by a name of the caller's."""

    def __init__(
        self,
        types: Types,
        type_name: str,
        needed: Mapping[str, str | Sequence[str]],
        wanted: Mapping[str, str | Sequence[str]] | None = None,
    ) -> None:
        """A member of ``wanted`` may be missing, one of ``needed`` may not; both have paths by the caller's names.

        :raises UnknownTypeError: the kernel has no such type, or lacks a member that is needed.
        :raises FormatError: the types make no sense.
        """
        self.name = type_name
        self.size_bytes = types.size_of(types.named(type_name))
        self._places = {name: _first(types, type_name, paths) for name, paths in needed.items()}
        self._missing: dict[str, None] = {}
        for name, paths in (wanted or {}).items():
            try:
                self._places[name] = _first(types, type_name, paths)
            except (UnknownTypeError, PathError):
                self._missing[name] = None
        self._start = min((place.offset for place in self._places.values()), default=0)
        self._end = max((place.offset + place.size_bytes for place in self._places.values()), default=0)

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def offset(self, name: str) -> int:
        """Where a needed member is, in bytes."""
        return self._places[name].offset

    def place(self, name: str) -> Place:
        """The same, with its type."""
        return self._places[name]

    def read(self, memory: KernelMemory, address: int) -> Values:
        """The members of the object at an address.

        :raises AddressError: the dump doesn't have it.
        :raises TranslationError: it is at an address that isn't mapped.
        :raises FormatError: it is larger than anything that is read at once.
        """
        data = memory.read(address + self._start, self._end - self._start)
        values = Values(self._missing)
        for name, place in self._places.items():
            at = place.offset - self._start
            raw = data[at : at + place.size_bytes]
            is_number = place.type.kind in _NUMBERS
            values[name] = int.from_bytes(raw, memory.byte_order, signed=place.type.is_signed) if is_number else raw
        return values


def string_at(memory: KernelMemory, address: int | None) -> str | None:
    """The string that a pointer points to; None if it is NULL or can't be followed."""
    if not address:
        return None
    try:
        return memory.string(address, _MOST_STRING_BYTES).decode("utf-8", "backslashreplace")
    except UNREADABLE_ADDRESS:
        return None


def _first(types: Types, type_name: str, paths: str | Sequence[str]) -> Place:
    alternatives = (paths,) if isinstance(paths, str) else paths
    for path in alternatives[:-1]:
        try:
            return place_of(types, type_name, path)
        except (UnknownTypeError, PathError):
            continue
    return place_of(types, type_name, alternatives[-1])
