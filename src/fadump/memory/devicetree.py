"""The flattened device tree: what firmware hands to a kernel at every handover.

Specification: Devicetree Specification v0.4, chapter 5, version 17; version 16, which differs only in
that its header ends before the structure block's size, can also be read, because Linux's
arch/powerpc/kernel/prom_init.c writes it. All fields are big-endian u32 except where noted.

    header   0x00 magic d00dfeed     0x04 totalsize          0x08 off_dt_struct   0x0c off_dt_strings
             0x10 off_mem_rsvmap     0x14 version            0x18 last_comp_version
             0x1c boot_cpuid_phys    0x20 size_dt_strings    0x24 size_dt_struct
    reservations, 8-aligned: address (u64), size (u64), ...; both zero end it
    structure, 4-aligned tokens: 1 begin node, name; 2 end node;
             3 property, length, name's offset in strings, value; 4 nop; 9 end
    strings  the names of properties, each ended by a zero byte
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from fadump.errors import FadumpError, FormatError, LimitError
from fadump.limits import MOST_PROPERTY_CELLS, MOST_TREE_BYTES, MOST_TREE_ITEMS, Budget
from fadump.memory.ranges import Range

MAGIC = 0xD00DFEED
VERSION = 17
LAST_COMPATIBLE_VERSION = 16
MAX_DEPTH = 64
"""How deep nodes may nest; real trees have fewer than ten levels."""
MAX_NAME_BYTES = 255
"""How long a name may be. The specification has 31, which real firmware exceeds."""

_HEADER = struct.Struct(">10I")
_HEADER_V16 = struct.Struct(">9I")
_RESERVATION = struct.Struct(">QQ")
_CELL = struct.Struct(">I")
_PROPERTY = struct.Struct(">II")
_BEGIN_NODE, _END_NODE, _PROP, _NOP, _END = 1, 2, 3, 4, 9


class MissingPropertyError(FadumpError, KeyError):
    """A node lacks a property that its reader needs."""

    def __init__(self, node: str, name: str) -> None:
        self.node = node
        self.property = name
        super().__init__(f"device tree node {node or '/'} has no property {name}")

    def __str__(self) -> str:
        return str(self.args[0])  # KeyError's own adds quotes


def encode_cells(*values: int) -> bytes:
    """``values`` as big-endian u32s, as properties hold numbers.

    :raises ValueError: a value is not a u32.
    """
    try:
        return struct.pack(f">{len(values)}I", *values)
    except struct.error as error:
        raise ValueError(f"{values} don't fit into 32-bit cells") from error


def join_cells(cells: Sequence[int]) -> int:
    """The number made of ``cells``, the most significant first."""
    return sum(cell << 32 * index for index, cell in enumerate(reversed(cells)))


def encode_strings(*texts: str) -> bytes:
    """``texts`` as a string property or a list of strings: each one ended by a zero byte.

    Surrogate escapes, as for command-line arguments that aren't UTF-8, become their bytes again.
    """
    return b"".join(text.encode(errors="surrogateescape") + b"\0" for text in texts)


@dataclass(slots=True)
class Node:
    """A node: ``name`` with its unit address (the root's is empty), properties and children in their order."""

    name: str
    properties: dict[str, bytes] = field(default_factory=dict)
    children: list["Node"] = field(default_factory=list)

    def child(self, name: str) -> "Node | None":
        """The child called ``name``, or else the only one with that name before its unit address."""
        for node in self.children:
            if node.name == name:
                return node
        matches = [node for node in self.children if node.name.partition("@")[0] == name]
        return matches[0] if len(matches) == 1 else None

    def value(self, name: str) -> bytes:
        """The property's value as bytes.

        :raises MissingPropertyError: the node doesn't have it.
        """
        try:
            return self.properties[name]
        except KeyError:
            raise MissingPropertyError(self.name, name) from None

    def cells(self, name: str) -> tuple[int, ...]:
        """The property's value as big-endian u32s.

        :raises MissingPropertyError: the node doesn't have it.
        :raises FormatError: its length is not a multiple of 4, or it has more than any list of numbers.
        """
        value = self._cells(name)
        whole = len(value) // 4
        Budget(f"cells in property {name} of {self.name or '/'}", MOST_PROPERTY_CELLS).spend(whole)
        return struct.unpack(f">{whole}I", value)

    def rows(self, name: str, *widths: int, first_cell: int = 0) -> Iterator[tuple[int, ...]]:
        """The property's value as rows of numbers, one after the other; a number has 1 or 2 cells, as ``widths`` say.

        The rows begin at ``first_cell``; part of a row at the end is left out.

        :raises MissingPropertyError: the node doesn't have it.
        :raises FormatError: its length is not a multiple of 4.
        """
        row = struct.Struct(">" + "".join("IQ"[width - 1] for width in widths))
        value = memoryview(self._cells(name))[4 * first_cell :]
        return row.iter_unpack(value[: len(value) // row.size * row.size])

    def _cells(self, name: str) -> bytes:
        value = self.value(name)
        if len(value) % 4:
            message = f"property {name} of {self.name or '/'} is not a list of cells"
            raise FormatError(message, offset=len(value) // 4 * 4)
        return value

    def number(self, name: str) -> int:
        """The property's value as one big-endian number, of as many bytes as it has.

        :raises MissingPropertyError: the node doesn't have it.
        """
        return int.from_bytes(self.value(name), "big")

    @property
    def device_type(self) -> str:
        """What kind of device it is: "cpu", "memory"; empty if it doesn't say."""
        return self.properties.get("device_type", b"").rstrip(b"\0").decode("latin-1")

    def strings(self, name: str) -> tuple[str, ...]:
        """The property's value as a list of strings.

        :raises MissingPropertyError: the node doesn't have it.
        :raises FormatError: it doesn't end with a zero byte, or is not UTF-8.
        """
        value = self.value(name)
        if not value.endswith(b"\0"):
            raise FormatError(f"property {name} of {self.name or '/'} has no end of string", offset=len(value))
        try:
            return tuple(value[:-1].decode().split("\0"))
        except UnicodeDecodeError as error:
            raise FormatError(f"property {name} of {self.name or '/'} is not text", offset=error.start) from error

    def string(self, name: str) -> str:
        """The property's value as one string.

        :raises MissingPropertyError: the node doesn't have it.
        :raises FormatError: it is not exactly one string.
        """
        texts = self.strings(name)
        if len(texts) != 1:
            raise FormatError(
                f"property {name} of {self.name or '/'} is not one string",
                offset=len(texts[0].encode()),
                expected=1,
                found=len(texts),
            )
        return texts[0]

    def walk(self) -> Iterator["Node"]:
        """The node and everything below, each node before its children, in the tree's order."""
        waiting = [self]
        while waiting:
            node = waiting.pop()
            yield node
            waiting.extend(reversed(node.children))


@dataclass(slots=True)
class DeviceTree:
    """A whole tree. ``reservations`` is memory that a kernel must leave alone; ``boot_cpu`` is the
    physical id of the CPU that boots it."""

    root: Node = field(default_factory=lambda: Node(""))
    reservations: list[Range] = field(default_factory=list)
    boot_cpu: int = 0

    @classmethod
    def parse(cls, blob: bytes | memoryview) -> "DeviceTree":
        """The tree at the start of ``blob``; what follows its total size is ignored.

        :raises FormatError: anything in it is malformed, nested too deep or too large.
        """
        return _Reader(bytes(blob[: header_total_size(blob)])).tree()

    def encode(self) -> bytes:
        """The tree as a version 17 blob; parsing it gives an equal tree.

        :raises ValueError: the format can't hold a name, a range or a number.
        """
        strings = _Strings()
        reservations = b"".join(_encoded_reservation(range_) for range_ in self.reservations)
        reservations += _RESERVATION.pack(0, 0)
        structure = _encoded_structure(self.root, strings)
        structure_offset = _HEADER.size + len(reservations)
        strings_offset = structure_offset + len(structure)
        total_bytes = strings_offset + len(strings.block)
        if total_bytes > MOST_TREE_BYTES:
            raise ValueError(f"a device tree of {total_bytes:#x} bytes is too large")
        if not 0 <= self.boot_cpu < 1 << 32:
            raise ValueError(f"boot CPU {self.boot_cpu:#x} is not an u32")
        header = _HEADER.pack(
            MAGIC,
            total_bytes,
            structure_offset,
            strings_offset,
            _HEADER.size,
            VERSION,
            LAST_COMPATIBLE_VERSION,
            self.boot_cpu,
            len(strings.block),
            len(structure),
        )
        return b"".join((header, reservations, structure, strings.block))

    def find(self, path: str) -> Node | None:
        """The node at ``path`` ("/", "/rtas", "/cpus/PowerPC,POWER9@0"); unit addresses as in :meth:`Node.child`."""
        node: Node | None = self.root
        for name in path.split("/"):
            if name and node is not None:
                node = node.child(name)
        return node

    def node(self, path: str, why: str) -> Node:
        """The node at ``path``, as :meth:`find` finds it.

        :raises FadumpError: there is none; the sentence ends with ``why`` it is needed.
        """
        node = self.find(path)
        if node is None:
            raise FadumpError(f"the device tree has no {path}: {why}")
        return node

    def cpus(self) -> list[Node]:
        """The CPUs' nodes, in their order; empty without /cpus."""
        parent = self.find("/cpus")
        return [] if parent is None else [node for node in parent.children if node.device_type == "cpu"]

    def initrd(self) -> Range | None:
        """Where /chosen says that the initial RAM disk is; None: there is none, or it is empty."""
        chosen = self.find("/chosen")
        if chosen is None or not {"linux,initrd-start", "linux,initrd-end"} <= chosen.properties.keys():
            return None
        start, end = chosen.number("linux,initrd-start"), chosen.number("linux,initrd-end")
        return Range(start, end) if start < end else None


def header_total_size(blob: bytes | memoryview) -> int:
    """The size in bytes of the tree that begins with ``blob``, of which the first 8 bytes are enough.

    :raises FormatError: it isn't a device tree, or is larger than any real one.
    """
    if len(blob) < 8:
        raise FormatError("device tree header cut short", offset=0, expected=8, found=len(blob))
    magic, total_bytes = struct.unpack_from(">II", blob)
    if magic != MAGIC:
        raise FormatError("device tree without its magic", offset=0, expected=MAGIC, found=magic)
    if total_bytes < _HEADER_V16.size:
        raise FormatError("device tree smaller than its header", offset=4, expected=_HEADER_V16.size, found=total_bytes)
    if total_bytes > MOST_TREE_BYTES:
        raise LimitError("bytes of a device tree", found=total_bytes, limit=MOST_TREE_BYTES, offset=4)
    return int(total_bytes)


class _Reader:
    def __init__(self, blob: bytes) -> None:
        self._blob = blob
        (
            _magic,
            total_bytes,
            self._structure_offset,
            self._strings_offset,
            self._reservations_offset,
            version,
            last_compatible,
            self._boot_cpu,
            strings_bytes,
        ) = self._unpack(_HEADER_V16, 0, len(blob), "header")
        if total_bytes > len(blob):
            raise FormatError("device tree cut short", offset=len(blob), expected=total_bytes, found=len(blob))
        if version < LAST_COMPATIBLE_VERSION or last_compatible > VERSION:
            raise FormatError("device tree of another version", offset=0x14, expected=VERSION, found=version)
        self._strings_end = self._end_of(self._strings_offset, strings_bytes, 1, "strings")
        structure_bytes = max(0, total_bytes - self._structure_offset)
        if version >= VERSION:
            structure_bytes = self._unpack(_HEADER, 0, len(blob), "header")[9]
        self._structure_end = self._end_of(self._structure_offset, structure_bytes, 4, "structure")
        self._end_of(self._reservations_offset, 0, 8, "reservations")
        self._names: dict[int, str] = {}
        self._items = Budget("nodes, properties and reservations of a device tree", MOST_TREE_ITEMS)

    def tree(self) -> DeviceTree:
        return DeviceTree(self._root(), self._reservations(), self._boot_cpu)

    def _reservations(self) -> list[Range]:
        found: list[Range] = []
        offset = self._reservations_offset
        while True:
            address, size_bytes = self._unpack(_RESERVATION, offset, len(self._blob), "reservation")
            if not address and not size_bytes:
                return found
            if address + size_bytes > 1 << 64:
                raise FormatError("reservation beyond 64 bits", offset=offset, expected=1 << 64, found=address)
            self._items.spend(offset=offset)
            if size_bytes:
                found.append(Range.sized(address, size_bytes))
            offset += _RESERVATION.size

    def _root(self) -> Node:
        root: Node | None = None
        open_nodes: list[Node] = []
        offset = self._structure_offset
        while True:
            token_offset = offset
            (token,) = self._unpack(_CELL, offset, self._structure_end, "token")
            offset += _CELL.size
            if token == _NOP:
                continue
            if token == _END and root is not None and not open_nodes:
                return root
            if token == _BEGIN_NODE and (open_nodes or root is None):
                node, offset = self._begin_node(offset)
                if len(open_nodes) == MAX_DEPTH:
                    raise FormatError("device tree nested too deep", offset=token_offset)
                if open_nodes:
                    open_nodes[-1].children.append(node)
                else:
                    root = node
                open_nodes.append(node)
            elif token == _END_NODE and open_nodes:
                open_nodes.pop()
            elif token == _PROP and open_nodes and not open_nodes[-1].children:
                offset = self._property(open_nodes[-1], offset)
            else:
                raise FormatError(f"device tree token {token:#x} has no place", offset=token_offset)

    def _begin_node(self, offset: int) -> tuple[Node, int]:
        self._items.spend(offset=offset)
        name = self._name(offset, self._structure_end)
        return Node(name), _aligned(offset + len(name) + 1)

    def _property(self, node: Node, offset: int) -> int:
        length, name_offset = self._unpack(_PROPERTY, offset, self._structure_end, "property")
        self._items.spend(offset=offset)
        start = offset + _PROPERTY.size
        if start + length > self._structure_end:
            raise FormatError("property cut short", offset=start, expected=length, found=self._structure_end - start)
        if name_offset not in self._names:
            self._names[name_offset] = self._name(self._strings_offset + name_offset, self._strings_end)
        name = self._names[name_offset]
        if not name or name in node.properties:
            raise FormatError(f"property name {name!r} is empty or repeated", offset=offset + 4)
        node.properties[name] = self._blob[start : start + length]
        return _aligned(start + length)

    def _name(self, offset: int, end: int) -> str:
        zero = self._blob.find(b"\0", offset, min(end, offset + MAX_NAME_BYTES + 1))
        raw = self._blob[offset:zero]
        if zero < 0 or not raw.isascii():
            raise FormatError("name without an end, too long or not ASCII", offset=offset)
        return raw.decode("ascii")

    def _end_of(self, offset: int, size_bytes: int, alignment: int, what: str) -> int:
        if offset % alignment or offset + size_bytes > len(self._blob):
            raise FormatError(
                f"{what} block misaligned or outside", offset=offset, expected=size_bytes, found=alignment
            )
        return offset + size_bytes

    def _unpack(self, layout: struct.Struct, offset: int, end: int, what: str) -> tuple[Any, ...]:
        if offset + layout.size > end:
            raise FormatError(f"{what} cut short", offset=offset, expected=layout.size, found=max(0, end - offset))
        return layout.unpack_from(self._blob, offset)


class _Strings:
    """The strings block while it is written: each name is in it once."""

    def __init__(self) -> None:
        self.block = bytearray()
        self._offsets: dict[str, int] = {}

    def offset(self, name: str) -> int:
        if name not in self._offsets:
            self._offsets[name] = len(self.block)
            self.block += _encoded_name(name)
        return self._offsets[name]


def _encoded_structure(root: Node, strings: _Strings) -> bytes:
    parts: list[bytes] = []
    open_nodes = [iter([root])]
    while open_nodes:
        node = next(open_nodes[-1], None)
        if node is None:
            open_nodes.pop()
            parts.append(_CELL.pack(_END_NODE if open_nodes else _END))
            continue
        if len(open_nodes) > MAX_DEPTH:
            raise ValueError(f"device tree node {node.name} is nested deeper than {MAX_DEPTH}")
        parts += (_CELL.pack(_BEGIN_NODE), _padded(_encoded_name(node.name)))
        for name, value in node.properties.items():
            if not name:
                raise ValueError(f"device tree node {node.name or '/'} has a property without a name")
            parts += (_CELL.pack(_PROP), _PROPERTY.pack(len(value), strings.offset(name)), _padded(value))
        open_nodes.append(iter(node.children))
    return b"".join(parts)


def _encoded_reservation(range_: Range) -> bytes:
    if not range_ or range_.end > 1 << 64 or range_.size_bytes >= 1 << 64:
        raise ValueError(f"{range_} can't be reserved")
    return _RESERVATION.pack(range_.start, range_.size_bytes)


def _encoded_name(name: str) -> bytes:
    if not name.isascii() or "\0" in name or len(name) > MAX_NAME_BYTES:
        raise ValueError(f"{name!r} can't be a device tree name")
    return name.encode("ascii") + b"\0"


def _padded(value: bytes) -> bytes:
    return value + bytes(_aligned(len(value)) - len(value))


def _aligned(offset: int) -> int:
    return offset + -offset % _CELL.size
