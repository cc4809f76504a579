"""Objects of the crashed kernel: what is at an address, by its type; members, elements, lists and trees of them.

After the last step of "follow one crash" in docs/architecture.md. A path such as ``mm.owner``, ``targets[2]`` or
``slots[*]`` leads from an object to others; a pointer on the way is followed, and one that is NULL leads nowhere.
Nothing in memory is trusted: a list that comes back anywhere but to its start, and more steps than
:data:`~fadump.limits.MOST_OBJECTS`, are errors. Types are looked for once, however many objects are of them. Linux:
include/linux/list.h, types.h, rbtree_types.h.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from fadump.errors import FadumpError, FormatError
from fadump.limits import MOST_OBJECTS, Budget
from fadump.linux.memory import KernelMemory
from fadump.linux.symbols.table import SymbolTable
from fadump.linux.types.contract import POINTER_BYTES, Kind, Type, Types, UnknownTypeError

_PART = re.compile(r"\.?([A-Za-z_]\w*)|\[(\d{1,9}|\*)\]")
_MOST_PARTS = 64
_VOID = Type(0, Kind.VOID, "void", 0)
_ADDRESSES = (1 << 64) - 1
_RB_COLORS = 3
"""The lowest bits of rb_node.__rb_parent_color; of a node's children they are 0."""


class PathError(FadumpError, ValueError):
    """A path that makes no sense, or doesn't fit the types."""


class Every(Enum):
    """``[*]``: every element."""

    EVERY = "*"


Part = str | int | Every
Path = tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Object:
    """What is at a virtual address."""

    address: int
    type: Type


def parse_path(text: str) -> Path:
    """A path as it is typed.

    :raises PathError: it makes no sense.
    """
    parts: list[Part] = []
    at = 0
    while at < len(text):
        found = _PART.match(text, at) if len(parts) < _MOST_PARTS else None
        is_first = not parts
        if found is None or is_first != found[0][0].isidentifier():
            raise PathError(f"{text!r} is no path such as mm.owner, slots[3] or slots[*]")
        name, index = found.groups()
        parts.append(name or (Every.EVERY if index == "*" else int(index)))
        at = found.end()
    return tuple(parts)


class Objects:
    """The objects of one kernel. ``find_types`` is called once a type is needed."""

    def __init__(self, memory: KernelMemory, symbols: SymbolTable, find_types: Callable[[], Types]) -> None:
        self.memory = memory
        self._symbols = symbols
        self._find_types = find_types
        self._types: Types | None = None
        self._budget = Budget("objects on the way", MOST_OBJECTS)
        self._members: dict[tuple[int, str], tuple[int, Type]] = {}
        self._resolved: dict[int, Type] = {}
        self._named: dict[str, Type] = {}
        self._sizes: dict[Type, int] = {}

    @property
    def types(self) -> Types:
        """The kernel's types.

        :raises FadumpError: nothing describes them.
        """
        if self._types is None:
            self._types = self._find_types()
        return self._types

    def symbol_address(self, name: str) -> int:
        """The address of a symbol.

        :raises UnknownSymbolError: there is none.
        :raises PathError: there are several of this name, as files may have variables of their own.
        """
        address, others = self._symbols.address(name), self._symbols.others(name)
        if others:
            raise PathError(f"the kernel has {others + 1} symbols called {name}: which of them can't be said")
        return address

    def variable(self, name: str, type_name: str | None = None) -> Object:
        """The variable of a name; its type is that of ``type_name``, else what is known of it.

        :raises UnknownSymbolError: there is no such symbol.
        :raises UnknownTypeError: there is no such type, or nothing says what type the variable has.
        """
        address = self.symbol_address(name)
        if type_name is not None:
            return self.at(address, type_name)
        ref = self.types.variable(name)
        if ref is None:
            raise UnknownTypeError(f"{self.types.source} doesn't say what type {name} has: say type = ...")
        return Object(address, self._type(ref))

    def at(self, address: int, type_name: str) -> Object:
        """The object of a type at an address; a type that ends in ``*`` is a pointer.

        :raises UnknownTypeError: there is no such type.
        """
        name = type_name.strip()
        if not name.endswith("*"):
            return Object(address, _VOID if name == "void" else self._type_named(name))
        target = name[:-1].strip()
        ref = 0 if target == "void" else self._type_named(target).ref
        return Object(address, Type(0, Kind.POINTER, "", POINTER_BYTES, target=ref))

    def size_of(self, found: Object) -> int:
        """The size of an object in bytes; 0: that isn't known."""
        if found.type.kind is Kind.VOID:
            return 0
        if found.type not in self._sizes:
            self._sizes[found.type] = self.types.size_of(found.type)
        return self._sizes[found.type]

    def element_type(self, found: Object) -> Type:
        """What a pointer points to, or an array's elements are.

        :raises FormatError: there is no such type.
        """
        return self._type(found.type.target)

    def follow(self, found: Object, path: Path) -> Iterator[Object]:
        """The objects that a path leads to.

        :raises FadumpError: it doesn't fit the types, or memory can't be read.
        """
        if not path:
            yield found
            return
        part, rest = path[0], path[1:]
        if isinstance(part, str):
            whole = self.target(found) if found.type.kind is Kind.POINTER else found
            if whole is None:
                return
            if whole.type.kind is not Kind.STRUCT:
                raise PathError(f"there is no member {part} in {_called(whole.type)}")
            self._budget.spend()
            offset, type_ = self._member(whole.type, part)
            yield from self.follow(Object(whole.address + offset & _ADDRESSES, type_), rest)
            return
        for element in self._elements(found, part):
            yield from self.follow(element, rest)

    def one(self, found: Object, path: Path) -> Object | None:
        """The first of them; None if a pointer on the way is NULL."""
        return next(self.follow(found, path), None)

    def target(self, pointer: Object) -> Object | None:
        """What a pointer points to; None if it is NULL.

        :raises FadumpError: memory can't be read.
        """
        self._budget.spend()
        address = self.memory.word(pointer.address)
        return Object(address, self.element_type(pointer)) if address else None

    def number(self, found: Object) -> int:
        """The value of a number, an enum or a pointer.

        :raises PathError: it is something else.
        :raises FadumpError: memory can't be read.
        """
        size_bytes = found.type.size_bytes
        if found.type.kind not in (Kind.NUMBER, Kind.ENUM, Kind.POINTER) or not 0 < size_bytes <= POINTER_BYTES:
            raise PathError(f"{_called(found.type)} is no number")
        raw = self.memory.read(found.address, size_bytes)
        return int.from_bytes(raw, self.memory.byte_order, signed=found.type.is_signed)

    def array(self, start: Object, count: int) -> Iterator[Object]:
        """So many objects, one behind the other: elements of an array, or those that a pointer leads to.

        :raises PathError: the array has not so many, or their size isn't known.
        :raises FadumpError: memory can't be read.
        """
        if start.type.kind is Kind.ARRAY:
            for number in range(count):
                yield from self._elements(start, number)
            return
        first = self.target(start) if start.type.kind is Kind.POINTER else start
        if first is None:
            return
        size_bytes = self.size_of(first)
        if not size_bytes:
            raise PathError(f"the size of {_called(first.type)} isn't known")
        for number in range(count):
            self._budget.spend()
            yield Object(first.address + number * size_bytes & _ADDRESSES, first.type)

    def on_list(self, head: Object, type_name: str, link: Path) -> Iterator[Object]:
        """The objects on a list, of which ``head`` is a list_head or an hlist_head; ``link`` is their member.

        :raises FormatError: it comes back elsewhere than to its head, or has no end.
        :raises FadumpError: memory can't be read.
        """
        type_, offset = self._linked(type_name, link)
        is_hash_list = head.type.name == "hlist_head"
        if not is_hash_list and head.type.name != "list_head":
            raise PathError(f"{_called(head.type)} is no head of a list")
        for node in self._nodes(head.address, last=0 if is_hash_list else head.address):
            yield Object(node - offset & _ADDRESSES, type_)

    def in_tree(self, root: Object, type_name: str, link: Path) -> Iterator[Object]:
        """The objects in a tree, of which ``root`` is an rb_root or an rb_root_cached; ``link`` is their member.

        :raises FormatError: a node is in it twice.
        :raises FadumpError: memory can't be read.
        """
        type_, offset = self._linked(type_name, link)
        if root.type.name not in ("rb_root", "rb_root_cached"):
            raise PathError(f"{_called(root.type)} is no root of a tree")
        node_type = self._type_named("rb_node")
        left, right = (self._member(node_type, name)[0] for name in ("rb_left", "rb_right"))
        seen: set[int] = set()
        waiting = [self.memory.word(root.address)]  # rb_root_cached begins with its rb_root
        while waiting:
            node = waiting.pop()
            if not node:
                continue
            self._budget.spend()
            if node in seen or node & _RB_COLORS:
                raise FormatError(f"tree that has the node {node:#x} twice, or at an odd address")
            seen.add(node)
            yield Object(node - offset & _ADDRESSES, type_)
            waiting += [self.memory.word(node + right), self.memory.word(node + left)]

    def chained(self, first: Object, link: Path) -> Iterator[Object]:
        """An object, or what a pointer points to, and those that each names as the next one, until NULL or the first.

        :raises FormatError: it comes back elsewhere, or has no end.
        :raises FadumpError: memory can't be read.
        """
        start = found = self.target(first) if first.type.kind is Kind.POINTER else first
        seen: set[int] = set()
        while found is not None:
            self._budget.spend()
            if found.address in seen:
                raise FormatError(f"chain that comes back to {found.address:#x} and not to its start")
            seen.add(found.address)
            yield found
            pointer = self.one(found, link)
            found = None if pointer is None else self.target(pointer)
            if found == start:
                return

    def _nodes(self, head: int, *, last: int) -> Iterator[int]:
        seen: set[int] = set()
        node = self.memory.word(head)
        while node != last:
            self._budget.spend()
            if node in seen:
                raise FormatError(f"list that comes back to {node:#x} and not to its start")
            if not node:
                raise FormatError(f"list at {head:#x} that breaks off: it has a NULL pointer in it")
            seen.add(node)
            yield node
            node = self.memory.word(node)

    def _linked(self, type_name: str, link: Path) -> tuple[Type, int]:
        """A type, and the offset of its member ``link``."""
        type_ = self._type_named(type_name)
        inner, offset = type_, 0
        for part in link:
            if not isinstance(part, str):
                raise PathError(f"{type_name}: a list goes through a member, not through elements")
            at, inner = self._member(inner, part)
            offset += at
        return type_, offset

    def _member(self, type_: Type, name: str) -> tuple[int, Type]:
        """The offset of a member, in bytes, and its type."""
        key = type_.ref, name
        if key not in self._members:
            member = self.types.member(type_, name)
            if member.bits:
                raise PathError(f"{name} of {_called(type_)} is a bit field, which has no address")
            self._members[key] = member.offset, self._type(member.ref)
        return self._members[key]

    def _type(self, ref: int) -> Type:
        if ref not in self._resolved:
            self._resolved[ref] = self.types.resolve(ref)
        return self._resolved[ref]

    def _type_named(self, name: str) -> Type:
        if name not in self._named:
            self._named[name] = self.types.named(name)
        return self._named[name]

    def _elements(self, found: Object, part: int | Every) -> Iterator[Object]:
        if found.type.kind is Kind.POINTER and isinstance(part, int):
            whole = self.target(found)
            if whole is not None:
                yield Object(whole.address + part * self.size_of(whole) & _ADDRESSES, whole.type)
            return
        if found.type.kind is not Kind.ARRAY:
            raise PathError(f"{_called(found.type)} has no elements")
        length = found.type.length
        if isinstance(part, int) and 0 < length <= part:  # of an array without a length, as char data[], any will do
            raise PathError(f"there is no element {part} in an array of {length}")
        element = self.element_type(found)
        size_bytes = self.size_of(Object(found.address, element))
        numbers: Sequence[int] = range(length) if part is Every.EVERY else [int(str(part))]
        for number in numbers:
            self._budget.spend()
            yield Object(found.address + number * size_bytes & _ADDRESSES, element)


def _called(type_: Type) -> str:
    article = "an" if type_.kind in (Kind.ARRAY, Kind.ENUM) else "a"
    return f"{article} {type_.kind.value} {type_.name}".rstrip()
