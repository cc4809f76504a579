"""Builds debug information of types, entry by entry, and shares no code with what reads it."""

import struct

from tests.vmcore.core_builder import Section, build_sections

ARRAY, ENUM, MEMBER, POINTER, UNIT, STRUCT, TYPEDEF, UNION = 0x01, 0x04, 0x0D, 0x0F, 0x11, 0x13, 0x16, 0x17
SUBRANGE, BASE, CONST, ENUMERATOR, VARIABLE = 0x21, 0x24, 0x26, 0x28, 0x34
NAME, SIZE, BIT_OFFSET, BIT_SIZE, VALUE, UPPER, COUNT, LOCATION = 0x03, 0x0B, 0x0C, 0x0D, 0x1C, 0x2F, 0x37, 0x38
DECLARATION, ENCODING, SPECIFICATION, TYPE, DATA_BIT_OFFSET = 0x3C, 0x3E, 0x47, 0x49, 0x6B
ALIGNMENT = 0x88
_STRING, _STRP, _DATA4, _REF4, _PRESENT = 0x08, 0x0E, 0x06, 0x13, 0x19
_MOST_INLINE_BYTES = 4


class Unit:
    """Entries of one compile unit; a type is what :meth:`add` returns."""

    def __init__(self):
        self.entries = [(UNIT, {NAME: "a.c"}, [])]

    def add(self, tag, attributes, children=()):
        self.entries.append((tag, attributes, list(children)))
        return len(self.entries) - 1


def types_file(units, version=4, byte_order="little", *, tail="", first_code=1):
    """A file with debug information; each name is the end of a longer one that has ``tail`` in front.

    A name of four bytes, with its end, stands in its entry, as compilers have it. Abbreviations count from
    ``first_code``.
    """
    order = {"little": "<", "big": ">"}[byte_order]
    codes, strings, info = Codes(first_code), bytearray(b"start\0"), b""
    for unit in units:
        info += _unit(unit, version, order, codes, strings, tail)
    abbreviations = b"".join(
        bytes([code, tag, has_children]) + b"".join(_leb128(name) + bytes([form]) for name, form in forms) + bytes(2)
        for (tag, has_children, forms), code in codes.items()
    )
    blocks = {"": b"", ".shstrtab": b"", ".debug_info": info, ".debug_abbrev": abbreviations + b"\0"}
    blocks[".debug_str"] = bytes(strings)
    names = b"".join(name.encode() + b"\0" for name in blocks)
    blocks[".shstrtab"] = names
    sections = [
        Section(int(name != ""), block, name_offset=names.index(name.encode() + b"\0"))
        for name, block in blocks.items()
    ]
    return build_sections(sections, names_section=1, byte_order=byte_order)


def _leb128(number):
    return bytes([number]) if number < 0x80 else bytes([number & 0x7F | 0x80, number >> 7])


class Codes(dict):
    """Of abbreviations."""

    def __init__(self, first):
        super().__init__()
        self.first = first

    def of(self, abbreviation):
        return self.setdefault(abbreviation, self.first + len(self))


def _unit(unit, version, order, codes, strings, tail):
    head_bytes = 11 if version < 5 else 12
    places = {}
    for _twice in range(2):  # the second time, it is known where each entry is
        body = b""
        for number, (tag, attributes, children) in enumerate(unit.entries):
            places[number] = head_bytes + len(body)
            has_children = bool(children) or not number
            body += _entry(tag, attributes, has_children, order, codes, strings, places, tail)
            for child_tag, child_attributes in children:
                body += _entry(child_tag, child_attributes, False, order, codes, strings, places, tail)
            if children:
                body += b"\0"
        body += b"\0"
    head = struct.pack(order + "HIB", version, 0, 8) if version < 5 else struct.pack(order + "HBBI", version, 1, 8, 0)
    return struct.pack(order + "I", len(head) + len(body)) + head + body


def _entry(tag, attributes, has_children, order, codes, strings, places, tail):
    forms, packed = [], b""
    for name, value in attributes.items():
        if isinstance(value, str):
            text = tail.encode() + value.encode() + b"\0"
            if len(text) <= _MOST_INLINE_BYTES:
                forms.append((name, _STRING))
                packed += text
                continue
            at = strings.find(text)
            if at < 0:
                at = len(strings)
                strings.extend(text)
            forms.append((name, _STRP))
            packed += struct.pack(order + "I", at + len(tail))
        elif name in (TYPE, SPECIFICATION):
            forms.append((name, _REF4))
            packed += struct.pack(order + "I", places.get(value, 0))
        elif name == DECLARATION:
            forms.append((name, _PRESENT))
        else:
            forms.append((name, _DATA4))
            packed += struct.pack(order + "I", value)
    code = codes.of((tag, has_children, tuple(forms)))
    return bytes([code]) + packed
