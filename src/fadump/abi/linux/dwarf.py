"""Numbers of DWARF 4 and 5 that are needed to find types and their members.

Specification: DWARF Debugging Information Format, versions 4 and 5, section 7 "Data Representation".
"""

from collections.abc import Mapping
from types import MappingProxyType

TAG_ARRAY = 0x01
TAG_ENUMERATION = 0x04
TAG_ENUMERATOR = 0x28
TAG_MEMBER = 0x0D
TAG_POINTER = 0x0F
TAG_COMPILE_UNIT = 0x11
TAG_STRUCTURE = 0x13
TAG_SUBROUTINE_TYPE = 0x15
TAG_TYPEDEF = 0x16
TAG_UNION = 0x17
TAG_SUBRANGE = 0x21
TAG_BASE_TYPE = 0x24
TAG_CONST = 0x26
TAG_VARIABLE = 0x34
TAG_VOLATILE = 0x35
TAG_RESTRICT = 0x37
TAG_ATOMIC = 0x47
AT_NAME = 0x03
AT_BYTE_SIZE = 0x0B
AT_BIT_OFFSET = 0x0C
AT_BIT_SIZE = 0x0D
AT_CONST_VALUE = 0x1C
AT_UPPER_BOUND = 0x2F
AT_COUNT = 0x37
AT_MEMBER_LOCATION = 0x38
AT_DECLARATION = 0x3C
AT_ENCODING = 0x3E
AT_SPECIFICATION = 0x47
AT_TYPE = 0x49
AT_DATA_BIT_OFFSET = 0x6B
ATTRIBUTES = frozenset(
    {
        AT_NAME,
        AT_BYTE_SIZE,
        AT_BIT_OFFSET,
        AT_BIT_SIZE,
        AT_CONST_VALUE,
        AT_UPPER_BOUND,
        AT_COUNT,
        AT_MEMBER_LOCATION,
        AT_DECLARATION,
        AT_ENCODING,
        AT_SPECIFICATION,
        AT_TYPE,
        AT_DATA_BIT_OFFSET,
    }
)
"""All of them."""
UT_COMPILE = 1
ENCODINGS_SIGNED = frozenset({0x05, 0x06, 0x0D})
"""Of AT_ENCODING: signed numbers and characters."""

FORM_ADDR = 0x01
FORM_STRING = 0x08
FORM_SDATA = 0x0D
FORM_STRP = 0x0E
FORM_REF_ADDR = 0x10
FORM_UDATA = 0x0F
FORM_FLAG_PRESENT = 0x19
FORM_LINE_STRP = 0x1F
FORM_IMPLICIT_CONST = 0x21

FIXED_BYTES: Mapping[int, int] = MappingProxyType(
    {
        0x05: 2,
        0x06: 4,
        0x07: 8,
        0x0B: 1,
        0x0C: 1,
        0x11: 1,
        0x12: 2,
        0x13: 4,
        0x14: 8,
        0x1C: 4,
        0x1E: 16,
        0x20: 8,
        0x24: 8,
        0x25: 1,
        0x26: 2,
        0x27: 3,
        0x28: 4,
        0x29: 1,
        0x2A: 2,
        0x2B: 3,
        0x2C: 4,
    }
)
"""Forms of one size: data, flags, references, indices."""
OFFSET_FORMS = frozenset({FORM_STRP, FORM_REF_ADDR, 0x17, 0x1D, FORM_LINE_STRP})
"""Forms with the size of an offset."""
LEB128_FORMS = frozenset({FORM_UDATA, 0x15, 0x1A, 0x1B, 0x22, 0x23})
BLOCK_LENGTH_BYTES: Mapping[int, int] = MappingProxyType({0x0A: 1, 0x03: 2, 0x04: 4})
LEB128_BLOCK_FORMS = frozenset({0x09, 0x18})
CONSTANT_FORMS = frozenset({0x05, 0x06, 0x07, 0x0B, FORM_UDATA, FORM_IMPLICIT_CONST})
"""Forms whose value is an unsigned number."""
UNIT_REFERENCE_FORMS = frozenset({0x11, 0x12, 0x13, 0x14, 0x15})
"""Forms that name another entry by its offset in the unit; FORM_REF_ADDR does so by that in the section."""
