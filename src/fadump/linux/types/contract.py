"""The kernel's types, whoever describes them: :mod:`fadump.linux.types.btf` or :mod:`fadump.linux.vmlinux.dwarf_types`.

A type is known by a number, its ``ref``, which means something to the :class:`Types` that it is of; 0 is void. Names of
types are without ``struct``, ``union`` and ``enum``, as these share names with nothing that matters.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from fadump.errors import FadumpError, FormatError
from fadump.limits import MOST_NESTED, MOST_TYPE_DEPTH
from fadump.spelling import nearest

POINTER_BYTES = 8


class Kind(Enum):
    """What a type is, once typedefs and qualifiers are gone."""

    VOID = "void"
    NUMBER = "number"
    POINTER = "pointer"
    ARRAY = "array"
    STRUCT = "structure"
    """Or a union."""
    ENUM = "enum"
    FUNCTION = "function"


@dataclass(frozen=True, slots=True)
class Type:
    """``target`` is what a pointer points to, or an array's element; of these there are ``length``.

    ``size_bytes`` is 0 of a structure that is only declared, and of an array: :meth:`Types.size_of` knows its size.
    """

    ref: int
    kind: Kind
    name: str
    size_bytes: int
    target: int = 0
    length: int = 0
    is_signed: bool = False


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a structure; ``bits`` is the width of a bit field, 0 if it is none. A nested one may have no name."""

    name: str
    ref: int
    bit_offset: int
    bits: int = 0

    @property
    def offset(self) -> int:
        """Its offset in bytes, rounded down in a bit field."""
        return self.bit_offset // 8


class UnknownTypeError(FadumpError, LookupError):
    """A type or a member that the kernel doesn't have, or nothing that describes types."""


class NoTypesError(UnknownTypeError):
    """Nothing describes the kernel's types."""


class Types(ABC):
    """The types of one kernel."""

    source: str
    """Where they are from: "BTF" or "the vmlinux's debug information"."""

    @abstractmethod
    def find(self, name: str) -> int | None:
        """The structure, union or enum of a name, else a typedef or a number; None if there is none."""

    @abstractmethod
    def variable(self, name: str) -> int | None:
        """The type of a variable; None if it isn't known. BTF has few variables."""

    @abstractmethod
    def resolve(self, ref: int) -> Type:
        """A type without its typedefs and qualifiers.

        :raises FormatError: there is no such type, or it never ends.
        """

    @abstractmethod
    def members(self, ref: int) -> Sequence[Member]:
        """The members of a structure or a union, in their order; none of anything else.

        :raises FormatError: as above.
        """

    @abstractmethod
    def enumerators(self, ref: int) -> Sequence[tuple[str, int]]:
        """The names of an enum and their values; none of anything else.

        :raises FormatError: there is no such type.
        """

    def named(self, name: str) -> Type:
        """The type of a name.

        :raises UnknownTypeError: there is none.
        :raises FormatError: it makes no sense.
        """
        ref = self.find(name.removeprefix("struct ").removeprefix("union ").removeprefix("enum "))
        if ref is None:
            raise UnknownTypeError(f"the kernel has no type {name} in {self.source}")
        return self.resolve(ref)

    def size_of(self, type_: Type) -> int:
        """The size in bytes; of an array, all of it.

        :raises FormatError: as :meth:`resolve`.
        """
        count = 1
        for _ in range(MOST_TYPE_DEPTH):
            if type_.kind is not Kind.ARRAY:
                return count * type_.size_bytes
            count *= type_.length
            type_ = self.resolve(type_.target)
        raise FormatError("an array of arrays without an end")

    def member(self, type_: Type, name: str) -> Member:
        """The member of a name, in nested structures without a name too; its offset counts from ``type_``.

        :raises UnknownTypeError: there is none.
        :raises FormatError: as :meth:`members`.
        """
        found = self._member(type_.ref, name, 0, {type_.ref})
        if found is None:
            what = f"{type_.kind.value} {type_.name}".rstrip()
            names = [member.name for member in self.members(type_.ref) if member.name]
            near = nearest(name, names)
            hint = "" if near is None else f": did you mean {near}?"
            raise UnknownTypeError(f"{what} has no member {name}{hint}")
        return found

    def _member(self, ref: int, name: str, bit_offset: int, seen: set[int]) -> Member | None:
        """The same of one that may have been ``seen`` already, with the same members."""
        nameless = []
        for member in self.members(ref):
            if member.name == name:
                return Member(name, member.ref, bit_offset + member.bit_offset, member.bits)
            if not member.name:
                nameless.append(member)
        for member in nameless:
            if member.ref in seen:
                continue
            if len(seen) > MOST_NESTED:
                raise FormatError("structures within each other without an end")
            inner = self.resolve(member.ref)
            is_new = inner.kind is Kind.STRUCT and inner.ref not in seen
            seen |= {member.ref, inner.ref}
            if is_new:
                found = self._member(inner.ref, name, bit_offset + member.bit_offset, seen)
                if found is not None:
                    return found
        return None
