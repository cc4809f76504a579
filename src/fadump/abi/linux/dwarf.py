"""Numbers of DWARF 4 and 5 that are needed to find a structure's members.

Specification: DWARF Debugging Information Format, versions 4 and 5, section 7 "Data Representation".
"""

from collections.abc import Mapping
from types import MappingProxyType

TAG_MEMBER = 0x0D
TAG_STRUCTURE = 0x13
AT_NAME = 0x03
AT_MEMBER_LOCATION = 0x38
UT_COMPILE = 1

FORM_ADDR = 0x01
FORM_STRING = 0x08
FORM_SDATA = 0x0D
FORM_STRP = 0x0E
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
OFFSET_FORMS = frozenset({FORM_STRP, 0x10, 0x17, 0x1D, FORM_LINE_STRP})
"""Forms with the size of an offset."""
LEB128_FORMS = frozenset({FORM_UDATA, 0x15, 0x1A, 0x1B, 0x22, 0x23})
BLOCK_LENGTH_BYTES: Mapping[int, int] = MappingProxyType({0x0A: 1, 0x03: 2, 0x04: 4})
LEB128_BLOCK_FORMS = frozenset({0x09, 0x18})
CONSTANT_FORMS = frozenset({0x05, 0x06, 0x07, 0x0B, FORM_UDATA, FORM_IMPLICIT_CONST})
"""Forms whose value is an unsigned number."""
