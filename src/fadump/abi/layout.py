"""The layout of a structure in memory or in a file.

A structure is a class whose fields are annotated with their place: ``e_phoff: Annotated[int, u64(0x20)]``. A
:class:`Layout` of that class packs, unpacks, and says where a field is. Each structure has one class and one layout;
offsets are looked up by the field's name.
"""

import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Generic, Literal, TypeVar, get_type_hints

from fadump.errors import FormatError

if TYPE_CHECKING:
    import numpy as np

ByteOrder = Literal["little", "big"]
STRUCT_ORDER: Mapping[ByteOrder, str] = MappingProxyType({"little": "<", "big": ">"})
"""The prefix of a byte order in formats of struct and numpy."""

Record = TypeVar("Record")
Buffer = bytes | bytearray | memoryview

_NUMPY_CODES = MappingProxyType({"B": "u1", "H": "u2", "I": "u4", "Q": "u8", "h": "i2", "i": "i4", "q": "i8"})


@dataclass(frozen=True, slots=True)
class Place:
    """Where a field is, in bytes from the start of its structure, and its type.

    ``code`` is struct's for one number, or "s" for bytes. ``count`` is the number of elements; None: not an array.
    """

    offset: int
    code: str
    count: int | None = None

    @property
    def format(self) -> str:
        """The field's type as a format of struct."""
        return f"{'' if self.count is None else self.count}{self.code}"

    @property
    def size_bytes(self) -> int:
        """The field's size."""
        return struct.calcsize("<" + self.format)

    @property
    def is_array(self) -> bool:
        """Whether its value is a tuple of numbers."""
        return self.count is not None and self.code != "s"


def u8(offset: int) -> Place:
    """An unsigned number of one byte."""
    return Place(offset, "B")


def u16(offset: int) -> Place:
    """An unsigned number of 16 bits."""
    return Place(offset, "H")


def s16(offset: int) -> Place:
    """A signed number of 16 bits."""
    return Place(offset, "h")


def u32(offset: int) -> Place:
    """An unsigned number of 32 bits."""
    return Place(offset, "I")


def s32(offset: int) -> Place:
    """A signed number of 32 bits."""
    return Place(offset, "i")


def u64(offset: int, count: int | None = None) -> Place:
    """An unsigned number of 64 bits, or an array of them."""
    return Place(offset, "Q", count)


def s64(offset: int) -> Place:
    """A signed number of 64 bits."""
    return Place(offset, "q")


def raw(offset: int, size_bytes: int) -> Place:
    """Bytes that aren't decoded."""
    return Place(offset, "s", size_bytes)


class Layout(Generic[Record]):
    """The bytes of one kind of structure, in one byte order.

    Bytes between fields, and after the last one up to ``size_bytes``, are written as zeros and ignored when read.
    """

    def __init__(
        self, record: type[Record], name: str, byte_order: ByteOrder = "big", size_bytes: int | None = None
    ) -> None:
        """``record`` takes its fields in the order of their places; ``name`` is for errors: "MPIPL metadata".

        :raises ValueError: fields overlap, are in another order, or don't fit into ``size_bytes``.
        """
        self._record = record
        self._name = name
        self._byte_order = byte_order
        self._places = _places(record)
        self._size_bytes = _end(self._places) if size_bytes is None else size_bytes
        self._struct = struct.Struct(STRUCT_ORDER[byte_order] + _format(self._places, self._size_bytes))
        self._make: Callable[..., Record] = record
        if any(place.is_array for place in self._places.values()):
            self._make = self._with_arrays
        self._other: Layout[Record] | None = None

    @property
    def size_bytes(self) -> int:
        """The size of the structure."""
        return self._size_bytes

    @property
    def byte_order(self) -> ByteOrder:
        """The byte order of its numbers."""
        return self._byte_order

    @property
    def dtype(self) -> "np.dtype[np.void]":
        """The structure as numpy's type; only for those without arrays."""
        import numpy as np  # noqa: PLC0415 - a system's own Python may lack it, and few structures are read in bulk

        order = STRUCT_ORDER[self._byte_order]
        formats = [
            f"S{place.count}" if place.code == "s" else order + _NUMPY_CODES[place.code]
            for place in self._places.values()
        ]
        offsets = [place.offset for place in self._places.values()]
        names = [*self._places]
        return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": self._size_bytes})

    def in_order(self, byte_order: ByteOrder) -> "Layout[Record]":
        """The same structure in this byte order."""
        if byte_order == self._byte_order:
            return self
        if self._other is None:
            self._other = Layout(self._record, self._name, byte_order, self._size_bytes)
        return self._other

    def offset(self, field: str) -> int:
        """Where a field begins, in bytes from the start of the structure.

        :raises KeyError: there is none of that name; all methods that take a field raise it.
        """
        return self._places[field].offset

    def size(self, field: str) -> int:
        """The size of a field in bytes."""
        return self._places[field].size_bytes

    def pack(self, *values: int | bytes) -> bytes:
        """The structure with these values; the elements of arrays are separate values.

        :raises ValueError: a number doesn't fit its field.
        """
        try:
            return self._struct.pack(*values)
        except struct.error as error:
            raise ValueError(f"{self._name} with a number too large for its field: {error}") from error

    def encode(self, record: Record) -> bytes:
        """The structure's bytes.

        :raises ValueError: a number doesn't fit its field.
        """
        values: list[int | bytes] = []
        for name, place in self._places.items():
            value = getattr(record, name)
            values.extend(value) if place.is_array else values.append(value)
        return self.pack(*values)

    def decode(self, data: Buffer, at: int = 0) -> Record:
        """The structure that begins at byte ``at`` of ``data``.

        :raises FormatError: it is cut short.
        """
        if at + self._size_bytes > len(data):
            there = max(0, len(data) - at)
            raise FormatError(f"{self._name} cut short", offset=at, expected=self._size_bytes, found=there)
        return self._make(*self._struct.unpack_from(data, at))

    def decode_all(self, data: Buffer) -> Iterator[Record]:
        """Consecutive structures; ``data`` must not end within one."""
        return (self._make(*values) for values in self._struct.iter_unpack(data))

    def number(self, data: Buffer, field: str, at: int = 0) -> int:
        """The number in one field of the structure at byte ``at``, which may be cut short after it.

        :raises FormatError: ``data`` ends before the field does.
        """
        place = self._places[field]
        start = at + place.offset
        if start + place.size_bytes > len(data):
            there = max(0, len(data) - start)
            raise FormatError(f"{self._name} cut short", offset=start, expected=place.size_bytes, found=there)
        (value,) = struct.unpack_from(STRUCT_ORDER[self._byte_order] + place.format, data, start)
        return int(value)

    def put(self, buffer: bytearray, field: str, value: int | bytes, at: int = 0) -> None:
        """Write one field of the structure at byte ``at``.

        :raises ValueError: it doesn't fit.
        """
        buffer_at = at + self._places[field].offset
        encoded = self.encode_field(field, value)
        if buffer_at + len(encoded) > len(buffer):
            raise ValueError(f"{self._name} has no room for its field {field}")
        buffer[buffer_at : buffer_at + len(encoded)] = encoded

    def encode_field(self, field: str, value: int | bytes) -> bytes:
        """The bytes of one field, which must not be an array.

        :raises ValueError: the number doesn't fit.
        """
        try:
            return struct.pack(STRUCT_ORDER[self._byte_order] + self._places[field].format, value)
        except struct.error as error:
            raise ValueError(f"{self._name}'s field {field} can't hold {value!r}: {error}") from error

    def _with_arrays(self, *values: int | bytes) -> Record:
        fields: list[int | bytes | tuple[int | bytes, ...]] = []
        at = 0
        for place in self._places.values():
            if place.is_array:
                assert place.count is not None  # noqa: S101 - an array has a count
                fields.append(values[at : at + place.count])
                at += place.count
            else:
                fields.append(values[at])
                at += 1
        make: Callable[..., Record] = self._record
        return make(*fields)


def _places(record: type) -> dict[str, Place]:
    """The fields of a record that have a place, in order."""
    hints = get_type_hints(record, include_extras=True)
    return {
        name: place
        for name, hint in hints.items()
        for place in getattr(hint, "__metadata__", ())
        if isinstance(place, Place)
    }


def _end(places: Mapping[str, Place]) -> int:
    return max(place.offset + place.size_bytes for place in places.values())


def _format(places: Mapping[str, Place], size_bytes: int) -> str:
    """The structure as a format of struct, with padding between the fields."""
    parts: list[str] = []
    at = 0
    for name, place in places.items():
        if place.offset < at:
            raise ValueError(f"field {name} at {place.offset:#x} overlaps the one before it, which ends at {at:#x}")
        parts += (f"{place.offset - at}x", place.format)
        at = place.offset + place.size_bytes
    if at > size_bytes:
        raise ValueError(f"fields of {at:#x} bytes don't fit into {size_bytes:#x}")
    parts.append(f"{size_bytes - at}x")
    return "".join(parts)
