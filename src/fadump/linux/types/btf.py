"""The kernel's types by its own description, BTF, from its memory or from a vmlinux.

After the last step of "follow one crash" in docs/architecture.md; the layout is in :mod:`fadump.abi.linux.btf`. Where
types begin is found in one pass; everything else is looked up when it is asked for. Nothing in it is trusted: sizes
are checked against the data, and what leads from type to type is limited. Numbers of a module's types go on where
those of its ``base``, the kernel's, end, and so do its strings.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from fadump.abi.layout import STRUCT_ORDER, ByteOrder
from fadump.abi.linux import btf as abi
from fadump.abi.linux.btf import BTF_HEADER, Kind
from fadump.errors import FormatError
from fadump.limits import MOST_BTF_BYTES, MOST_MEMBER_NAMES_BYTES, MOST_NAME_BYTES, MOST_TYPE_DEPTH, Budget
from fadump.linux.memory import KernelMemory
from fadump.linux.symbols.table import SymbolTable
from fadump.linux.types import contract
from fadump.linux.types.contract import POINTER_BYTES, Member, Type, Types

_WANTED = (
    (Kind.STRUCT, Kind.UNION, Kind.ENUM, Kind.ENUM64),
    (Kind.TYPEDEF, Kind.INT, Kind.FLOAT),
)
"""Of types of one name, which is found first."""
_MOST_PLACES = 16
"""How often a name may stand in the strings; what makes BTF has each once."""
_SIGNED = 1 << 24
_KINDS = {
    Kind.PTR: contract.Kind.POINTER,
    Kind.STRUCT: contract.Kind.STRUCT,
    Kind.UNION: contract.Kind.STRUCT,
    Kind.FWD: contract.Kind.STRUCT,
    Kind.ENUM: contract.Kind.ENUM,
    Kind.ENUM64: contract.Kind.ENUM,
    Kind.FUNC: contract.Kind.FUNCTION,
    Kind.FUNC_PROTO: contract.Kind.FUNCTION,
}

Words = npt.NDArray[np.uint32]


def read_btf(memory: KernelMemory, symbols: SymbolTable) -> "Btf":
    """The types that the crashed kernel has of itself in its memory.

    :raises UnknownSymbolError: it has none.
    :raises AddressError: the dump doesn't have all of it.
    :raises TranslationError: it is at an address that isn't mapped.
    :raises FormatError: it makes no sense.
    """
    start, end = symbols.address("__start_BTF"), symbols.address("__stop_BTF")
    Budget("bytes of BTF", MOST_BTF_BYTES).spend(end - start)
    return Btf(memory.read(start, end - start))


class Btf(Types):
    """The types of one kernel, or with a ``base`` those of one of its modules."""

    source = "its BTF"

    def __init__(self, data: bytes, base: "Btf | None" = None) -> None:
        """Find where each type begins.

        :raises FormatError: it is no BTF, or makes no sense.
        """
        Budget("bytes of BTF", MOST_BTF_BYTES).spend(len(data))
        order = _byte_order(data)
        header = BTF_HEADER.in_order(order).decode(data[: BTF_HEADER.size_bytes])
        if header.version != abi.VERSION:
            raise FormatError("BTF of another version", offset=2, expected=abi.VERSION, found=header.version)
        self._base = base
        self._first = 1 if base is None else base.end
        self._first_string = 0 if base is None else base.strings_end
        start = header.hdr_len + header.str_off
        self._strings = _part(data, start, header.str_len, "strings")
        if not self._strings.endswith(b"\0"):
            raise FormatError("the strings of BTF have no end", offset=start)
        raw = _part(data, header.hdr_len + header.type_off, header.type_len, "types")
        order_code = STRUCT_ORDER[order]
        whole = raw[: len(raw) // 4 * 4]
        self._words: Words = np.frombuffer(whole, f"{order_code}u4").astype(np.uint32)
        self._starts = np.fromiter(self._find_starts(), np.int64)
        infos = self._words[self._starts + 1]
        self._kinds = (infos >> np.uint32(abi.KIND_SHIFT)) & np.uint32(abi.KIND)
        self._names = self._words[self._starts]

    @property
    def end(self) -> int:
        """The number after the last type's."""
        return self._first + len(self._starts)

    @property
    def strings_end(self) -> int:
        """The offset after the last string's."""
        return self._first_string + len(self._strings)

    def find(self, name: str) -> int | None:
        return self.first(name, _WANTED)

    def variable(self, name: str) -> int | None:
        return self.first(name, ((Kind.VAR,),))

    def resolve(self, ref: int) -> Type:
        for _ in range(MOST_TYPE_DEPTH):
            if not ref:
                return Type(0, contract.Kind.VOID, "void", 0)
            words, at = self.place(ref)
            if self.kind(ref) is Kind.FWD:  # declared only: its definition may be elsewhere
                ref = self.find(self.string(int(words[at]))) or ref
                words, at = self.place(ref)
            if self.kind(ref) not in abi.ALIASES:
                return self._type(ref, words, at)
            ref = int(words[at + 2])
        raise FormatError(f"BTF type {ref} is a name for a name without an end")

    def members(self, ref: int) -> Sequence[Member]:
        if not ref or self.kind(ref) not in (Kind.STRUCT, Kind.UNION):
            return ()
        words, at = self.place(ref)
        info = int(words[at + 1])
        rows = words[at + abi.TYPE_WORDS :][: 3 * (info & abi.VLEN)].reshape(-1, 3)
        has_widths = bool(info & abi.KIND_FLAG)
        names = self._names_of(rows)
        return [
            Member(name, type_, *self._bits(type_, where, has_widths=has_widths))
            for name, (_offset, type_, where) in zip(names, rows.tolist(), strict=True)
        ]

    def kind(self, ref: int) -> Kind:
        """A type's kind, which isn't void.

        :raises FormatError: there is no such type.
        """
        if self._base is not None and ref < self._first:
            return self._base.kind(ref)
        self.place(ref)
        return Kind(int(self._kinds[ref - self._first]))

    def enumerators(self, ref: int) -> Sequence[tuple[str, int]]:
        kind = self.kind(ref)
        if kind not in (Kind.ENUM, Kind.ENUM64):
            return ()
        words, at = self.place(ref)
        info, size = int(words[at + 1]), abi.MEMBER_WORDS[kind]
        rows = words[at + abi.TYPE_WORDS :][: size * (info & abi.VLEN)].reshape(-1, size)
        bits = 32 * (size - 1)
        found = []
        for name, (_offset, *halves) in zip(self._names_of(rows), rows.tolist(), strict=True):
            value = sum(half << 32 * number for number, half in enumerate(halves))
            is_negative = info & abi.KIND_FLAG and value >> bits - 1
            found.append((name, value - (1 << bits) if is_negative else value))
        return found

    def _names_of(self, rows: Words) -> Iterator[str]:
        """The names of a type's members or enumerators, which may all be the same string."""
        budget = Budget("bytes in the names of a type's members", MOST_MEMBER_NAMES_BYTES)
        for offset in rows[:, 0].tolist():
            name = self.string(offset)
            budget.spend(len(name), offset=offset)
            yield name

    def string(self, offset: int) -> str:
        """The string at an offset; of one that is longer than any name, its beginning.

        :raises FormatError: it is outside of the strings.
        """
        if self._base is not None and offset < self._first_string:
            return self._base.string(offset)
        at = offset - self._first_string
        if at >= len(self._strings):
            raise FormatError("BTF string outside of its section", offset=offset)
        end = self._strings.find(b"\0", at, at + MOST_NAME_BYTES)
        return self._strings[at : end if end >= 0 else at + MOST_NAME_BYTES].decode("utf-8", "backslashreplace")

    def _find_starts(self) -> Iterator[int]:
        """Where types begin, in words."""
        infos = self._words.data
        at = 0
        while at < len(infos):
            if at + abi.TYPE_WORDS > len(infos):
                raise FormatError("BTF type cut short", offset=4 * at)
            info = infos[at + 1]
            try:
                kind = Kind(info >> abi.KIND_SHIFT & abi.KIND)
            except ValueError:
                number = info >> abi.KIND_SHIFT & abi.KIND
                raise FormatError(f"BTF type of unknown kind {number}", offset=4 * at) from None
            yield at
            at += abi.TYPE_WORDS + abi.MORE_WORDS.get(kind, 0)
            at += abi.MEMBER_WORDS.get(kind, 0) * (info & abi.VLEN)
        if at != len(infos):
            raise FormatError("BTF type cut short", offset=4 * len(infos))

    def place(self, ref: int) -> tuple[Words, int]:
        """The words that a type is in, and where it begins there.

        :raises FormatError: there is no such type.
        """
        if self._base is not None and ref < self._first:
            return self._base.place(ref)
        if not self._first <= ref < self.end:
            raise FormatError(f"BTF type {ref}, which there is not")
        return self._words, int(self._starts[ref - self._first])

    def first(self, name: str, wanted: Sequence[Sequence[Kind]]) -> int | None:
        """The first type of a name; of several kinds in ``wanted``, those in front are looked for first."""
        places = self.string_places(name)
        named = np.flatnonzero(np.isin(self._names, np.array(places, np.uint32))) if places else np.empty(0, np.int64)
        for kinds in wanted:
            found = named[np.isin(self._kinds[named], kinds)]
            if len(found):
                return self._first + int(found[0])
        return None if self._base is None else self._base.first(name, wanted)

    def string_places(self, name: str) -> list[int]:
        """Where a name is in the strings, as types have it."""
        wanted = name.encode() + b"\0"
        places: list[int] = [] if self._base is None else self._base.string_places(name)
        at = -1
        while len(places) < _MOST_PLACES and name:
            at = self._strings.find(b"\0" + wanted, at + 1)
            if at < 0:
                break
            places.append(self._first_string + at + 1)
        if name and self._strings.startswith(wanted):
            places.append(self._first_string)
        return places

    def _type(self, ref: int, words: Words, at: int) -> Type:
        kind, name, size = self.kind(ref), self.string(int(words[at])), int(words[at + 2])
        match kind:
            case Kind.PTR:
                return Type(ref, contract.Kind.POINTER, "", POINTER_BYTES, target=size)
            case Kind.ARRAY:
                element, _index, length = words[at + abi.TYPE_WORDS :][:3].tolist()
                return Type(ref, contract.Kind.ARRAY, "", 0, target=element, length=length)
            case Kind.INT:
                is_signed = bool(int(words[at + abi.TYPE_WORDS]) & _SIGNED)
                return Type(ref, contract.Kind.NUMBER, name, size, is_signed=is_signed)
            case Kind.FWD | Kind.FUNC | Kind.FUNC_PROTO:
                return Type(ref, _KINDS[kind], name, 0)
        return Type(ref, _KINDS.get(kind, contract.Kind.NUMBER), name, size)

    def _bits(self, ref: int, where: int, *, has_widths: bool) -> tuple[int, int]:
        """A member's offset and its width as a bit field, in bits."""
        if has_widths:
            return where & abi.BIT_OFFSET, where >> abi.BIT_FIELD_SHIFT
        if ref and self.kind(ref) is Kind.INT:  # as older kernels have bit fields: a number with fewer bits
            words, at = self.place(ref)
            more = int(words[at + abi.TYPE_WORDS])
            if more & 0xFF != 8 * int(words[at + 2]):
                return where + (more >> 16 & 0xFF), more & 0xFF
        return where, 0


def _byte_order(data: bytes) -> ByteOrder:
    orders: tuple[ByteOrder, ...] = ("little", "big")
    for order in orders:
        if data[:2] == abi.MAGIC.to_bytes(2, order) and len(data) >= BTF_HEADER.size_bytes:
            return order
    raise FormatError(
        "no BTF", offset=BTF_HEADER.offset("magic"), expected=abi.MAGIC.to_bytes(2, "little"), found=data[:2]
    )


def _part(data: bytes, start: int, length: int, what: str) -> bytes:
    if start + length > len(data):
        raise FormatError(f"the {what} of BTF are cut short", offset=start, expected=length, found=len(data) - start)
    return data[start : start + length]
