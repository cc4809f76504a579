"""Builds BTF, type by type, and shares no code with what reads it."""

import struct

INT, PTR, ARRAY, STRUCT, UNION, ENUM, FWD, TYPEDEF, CONST, VAR, ENUM64 = 1, 2, 3, 4, 5, 6, 7, 8, 10, 14, 19


class BtfBuilder:
    """Types are numbered from 1, or from ``first`` on, as they are added; each method returns its type's number."""

    def __init__(self, byte_order="little", first=1, first_string=0):
        self.order = {"little": "<", "big": ">"}[byte_order]
        self.first = first
        self.first_string = first_string
        self.strings = bytearray(b"" if first_string else b"\0")
        self.types = []

    def pack(self, *words):
        return struct.pack(f"{self.order}{len(words)}I", *words)

    def string(self, text):
        if not text:
            return 0
        self.strings += text.encode() + b"\0"
        return self.first_string + len(self.strings) - len(text.encode()) - 1

    def add(self, kind, name="", size=0, more=b"", count=0, flag=0):
        self.types.append(self.pack(self.string(name), flag << 31 | kind << 24 | count, size) + more)
        return self.first + len(self.types) - 1

    def integer(self, name, size, *, signed=False, bits=None, offset=0):
        more = self.pack(int(signed) << 24 | offset << 16 | (8 * size if bits is None else bits))
        return self.add(INT, name, size, more)

    def pointer(self, target):
        return self.add(PTR, size=target)

    def array(self, element, length):
        return self.add(ARRAY, more=self.pack(element, 0, length))

    def alias(self, kind, name, target):
        return self.add(kind, name, target)

    def structure(self, name, size, members, *, kind=STRUCT, flag=0):
        """``members``: (name, type, offset in bytes) or, with a flag, (name, type, offset in bits, width)."""
        more = b""
        for member, type_, at, *width in members:
            where = width[0] << 24 | at if flag else 8 * at
            more += self.pack(self.string(member), type_, where)
        return self.add(kind, name, size, more, len(members), flag)

    def enum(self, name, values, *, wide=False, signed=True):
        more = b""
        for member, value in values.items():
            raw = value & (1 << (64 if wide else 32)) - 1
            more += self.pack(self.string(member), raw & 0xFFFFFFFF, *([raw >> 32] if wide else []))
        return self.add(ENUM64 if wide else ENUM, name, 8 if wide else 4, more, len(values), int(signed))

    def variable(self, name, type_):
        return self.add(VAR, name, type_, self.pack(1))

    def data(self):
        types = b"".join(self.types)
        header = struct.pack(self.order + "HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(self.strings))
        return header + types + bytes(self.strings)
