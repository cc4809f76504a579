"""Builds an ELF file with debug information, entry by entry, and shares no code with what reads the latter."""

import struct

from tests.vmcore.core_builder import Section, build_sections

COMPILE_UNIT, BASE, STRUCTURE, MEMBER = 0x11, 0x24, 0x13, 0x0D
NAME, BYTE_SIZE, LOCATION, DECLARATION, TYPE, STMT_LIST, LOW_PC, PRODUCER = 3, 0x0B, 0x38, 0x3C, 0x49, 0x10, 0x11, 0x25
ADDR, DATA2, STRING, DATA1, UDATA, STRP, REF4, SEC_OFFSET, EXPRLOC, FLAG_PRESENT, LINE_STRP, IMPLICIT = (
    *(0x01, 0x05, 0x08, 0x0B, 0x0F, 0x0E, 0x13, 0x17, 0x18, 0x19, 0x1F, 0x21),
)


def debug_file(structs, version, byte_order="little", *, more=None, declared=(), before=None):
    """A file whose compile units define ``structs`` and then ``more``; None: without debug information.

    ``before`` them stands a unit of that version, without structs.
    """
    order = {"little": "<", "big": ">"}[byte_order]
    blocks = {"": b"", ".shstrtab": b""}
    if structs is not None:
        strings = bytearray(b"\0")
        units = [
            _unit(order, version, entries, strings, declared) for entries in (structs, more) if entries is not None
        ]
        if before is not None:
            units.insert(0, _unit(order, before, {}, strings, ()))
        blocks[".debug_info"] = b"".join(units)
        blocks[".debug_abbrev"] = _abbreviations()
        blocks[".debug_str"] = blocks[".debug_line_str"] = bytes(strings)
    names = b"".join(name.encode() + b"\0" for name in blocks)
    blocks[".shstrtab"] = names
    sections = [
        Section(int(name != ""), block, name_offset=names.index(name.encode() + b"\0"))
        for name, block in blocks.items()
    ]
    return build_sections(sections, names_section=1, byte_order=byte_order)


def _abbreviations():
    table = [
        (COMPILE_UNIT, 1, [(PRODUCER, LINE_STRP), (LOW_PC, ADDR), (STMT_LIST, SEC_OFFSET)]),
        (BASE, 0, [(BYTE_SIZE, DATA1), (NAME, STRING)]),
        (STRUCTURE, 1, [(NAME, STRP), (BYTE_SIZE, IMPLICIT, 5)]),
        (MEMBER, 0, [(NAME, STRP), (TYPE, REF4), (LOCATION, DATA2)]),
        (MEMBER, 0, [(NAME, STRING), (LOCATION, UDATA)]),
        (MEMBER, 0, [(LOCATION, EXPRLOC), (TYPE, REF4)]),
        (STRUCTURE, 0, [(NAME, STRP), (DECLARATION, FLAG_PRESENT)]),
    ]
    packed = b""
    for code, (tag, children, attributes) in enumerate(table, start=1):
        packed += bytes([code, tag, children])
        packed += b"".join(bytes(attribute) for attribute in attributes) + bytes(2)
    return packed + b"\0"


def _unit(order, version, structs, strings, declared):
    def string(text):
        strings.extend(text.encode() + b"\0")
        return struct.pack(order + "I", len(strings) - len(text) - 1)

    body = b"\1" + string("a compiler") + bytes(8) + bytes(4)
    body += b"\2\4int\0"
    body += b"".join(b"\7" + string(name) for name in declared)
    for name, members in structs.items():
        body += b"\3" + string(name)
        for number, (member, at) in enumerate(members.items()):
            if number % 2:
                body += b"\5" + member.encode() + b"\0" + bytes([at & 0x7F | 0x80, at >> 7])
            else:
                body += b"\4" + string(member) + bytes(4) + struct.pack(order + "H", at)
        body += b"\6\2\x23\x08" + bytes(4)  # a member without a name, at an expression
        body += b"\3" + string("inner") + b"\5other\0\1" + b"\0"  # a struct within, and its end
        body += b"\0"
    body += b"\0"
    head = struct.pack(order + "HIB", version, 0, 8) if version < 5 else struct.pack(order + "HBBI", version, 1, 8, 0)
    return struct.pack(order + "I", len(head) + len(body)) + head + body
