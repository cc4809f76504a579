"""BTF, the kernel's own description of its types: the header, and how a type is laid out.

Linux: include/uapi/linux/btf.h, Documentation/bpf/btf.rst. It is in the section .BTF of a vmlinux, which is in the
kernel's memory too, from __start_BTF to __stop_BTF. Type 0 is void; the others count from 1. A type is three u32 (its
name, its kind with a count, a size or another type) and then what its kind adds; names are offsets into the strings.
"""

from collections.abc import Mapping
from enum import IntEnum
from types import MappingProxyType
from typing import Annotated, NamedTuple

from fadump.abi.layout import Layout, u8, u16, u32

MAGIC = 0xEB9F
VERSION = 1


class BtfHeader(NamedTuple):
    """``struct btf_header``; the offsets count from the header's end, which is at ``hdr_len``."""

    magic: Annotated[int, u16(0)] = MAGIC
    version: Annotated[int, u8(2)] = VERSION
    flags: Annotated[int, u8(3)] = 0
    hdr_len: Annotated[int, u32(4)] = 24
    type_off: Annotated[int, u32(8)] = 0
    type_len: Annotated[int, u32(12)] = 0
    str_off: Annotated[int, u32(16)] = 0
    str_len: Annotated[int, u32(20)] = 0


BTF_HEADER = Layout(BtfHeader, "BTF header", "little")


class Kind(IntEnum):
    """``BTF_KIND_*``."""

    INT = 1
    PTR = 2
    ARRAY = 3
    STRUCT = 4
    UNION = 5
    ENUM = 6
    FWD = 7
    TYPEDEF = 8
    VOLATILE = 9
    CONST = 10
    RESTRICT = 11
    FUNC = 12
    FUNC_PROTO = 13
    VAR = 14
    DATASEC = 15
    FLOAT = 16
    DECL_TAG = 17
    TYPE_TAG = 18
    ENUM64 = 19


TYPE_WORDS = 3
"""struct btf_type: name_off, info, and size or type."""
VLEN = 0xFFFF
KIND_SHIFT, KIND = 24, 0x1F
KIND_FLAG = 1 << 31
"""In info: how many members, the kind, and in a struct that its members' offsets have the sizes of bit fields."""
BIT_FIELD_SHIFT = 24
BIT_OFFSET = (1 << BIT_FIELD_SHIFT) - 1

MORE_WORDS: Mapping[Kind, int] = MappingProxyType({Kind.INT: 1, Kind.ARRAY: 3, Kind.VAR: 1, Kind.DECL_TAG: 1})
"""What follows a type, in u32."""
MEMBER_WORDS: Mapping[Kind, int] = MappingProxyType(
    {Kind.STRUCT: 3, Kind.UNION: 3, Kind.ENUM: 2, Kind.FUNC_PROTO: 2, Kind.DATASEC: 3, Kind.ENUM64: 3}
)
"""The same for each of its members."""
ALIASES = frozenset({Kind.TYPEDEF, Kind.VOLATILE, Kind.CONST, Kind.RESTRICT, Kind.TYPE_TAG, Kind.VAR})
"""Kinds that are another type, by another name or with a qualifier."""
