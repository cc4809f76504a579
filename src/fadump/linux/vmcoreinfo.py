"""VMCOREINFO: what the crashed kernel says about its own symbols, sizes and numbers.

After the last step of "follow one crash" in docs/architecture.md. Linux writes it in kernel/vmcore_info.c and
arch/powerpc/kexec/vmcore_info.c as lines of text; its meaning is in Documentation/admin-guide/kdump/vmcoreinfo.rst.

    OSRELEASE=6.12.0           text
    SYMBOL(prb)=c000000000aa   a virtual address, hexadecimal without 0x
    OFFSET(page.flags)=0       of a member, in bytes, decimal; likewise SIZE(page) and LENGTH(node_data), elements
    NUMBER(PG_lru)=5           decimal, signed, or hexadecimal with 0x

A kernel is characterized by the facts that it states, never by its version.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType

from fadump.errors import FadumpError, FormatError, LimitError
from fadump.limits import MOST_VMCOREINFO_BYTES
from fadump.vmcore.contract import Dump
from fadump.vmcore.notes import vmcoreinfo_lines

_HEXADECIMAL = re.compile(r"[0-9a-fA-F]{1,16}")
_NUMBER = re.compile(r"-?[0-9]{1,20}|0x[0-9a-fA-F]{1,16}")


class MissingFactError(FadumpError, LookupError):
    """VMCOREINFO doesn't have ``key``, or the dump has no VMCOREINFO."""

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(f"the dump's VMCOREINFO doesn't have {key}: the crashed kernel has not said it")


class NoVmcoreinfoError(FadumpError, LookupError):
    """A dump has no VMCOREINFO."""

    def __init__(self) -> None:
        super().__init__(
            "the dump has no VMCOREINFO, nor was it found in memory: without it, nothing of the kernel can be found"
        )


class Facts:
    """The facts of one VMCOREINFO. ``"SYMBOL(prb)" in facts`` says whether a fact is there."""

    def __init__(self, data: bytes) -> None:
        """Read the lines of ``data``; of two lines with one key the later counts, as for makedumpfile.

        :raises FormatError: it is larger than any VMCOREINFO.
        """
        if len(data) > MOST_VMCOREINFO_BYTES:
            raise LimitError("bytes of VMCOREINFO", found=len(data), limit=MOST_VMCOREINFO_BYTES)
        self._lines = {line.key: line for line in vmcoreinfo_lines(data)}
        self._sizes: dict[str, int] = {}

    @classmethod
    def of(cls, dump: Dump) -> "Facts":
        """The facts of a dump.

        :raises NoVmcoreinfoError: it has none.
        :raises FormatError: as above.
        """
        if not dump.vmcoreinfo:
            raise NoVmcoreinfoError
        return cls(dump.vmcoreinfo)

    def __contains__(self, key: str) -> bool:
        return key in self._lines

    @property
    def values(self) -> Mapping[str, str]:
        """The text of all of them, by their whole keys."""
        return MappingProxyType({key: line.value for key, line in self._lines.items()})

    def text(self, key: str) -> str:
        """The text of a line such as OSRELEASE.

        :raises MissingFactError: there is no such line.
        """
        try:
            return self._lines[key].value
        except KeyError:
            raise MissingFactError(key) from None

    def symbol(self, name: str) -> int:
        """A symbol's virtual address.

        :raises MissingFactError: it isn't there.
        :raises FormatError: it isn't a hexadecimal number of 64 bits; the methods below raise it likewise.
        """
        return self._number(f"SYMBOL({name})", _HEXADECIMAL, 16)

    def offset(self, member: str) -> int:
        """The offset of "struct.member" in bytes.

        :raises MissingFactError: it isn't there.
        """
        return self._size(f"OFFSET({member})")

    def size(self, name: str) -> int:
        """The size of a type in bytes.

        :raises MissingFactError: it isn't there.
        """
        return self._size(f"SIZE({name})")

    def length(self, name: str) -> int:
        """The number of elements of an array.

        :raises MissingFactError: it isn't there.
        """
        return self._size(f"LENGTH({name})")

    def number(self, name: str) -> int:
        """A number, which may be negative.

        :raises MissingFactError: it isn't there.
        """
        return self._number(f"NUMBER({name})", _NUMBER, 0)

    def plain_number(self, key: str) -> int:
        """The decimal number of a line without parentheses, such as PAGESIZE or CRASHTIME.

        :raises MissingFactError: it isn't there.
        """
        return self._number(key, _NUMBER, 10)

    def page_bytes(self) -> int:
        """Bytes in a page, 4 KiB to 64 KiB.

        :raises MissingFactError: it isn't there.
        """
        size_bytes = self.plain_number("PAGESIZE")
        if size_bytes not in {1 << shift for shift in range(12, 17)}:
            raise self._error("PAGESIZE", "a power of two from 0x1000 to 0x10000")
        return size_bytes

    def _size(self, key: str) -> int:
        known = self._sizes.get(key)  # some are needed for every structure that is read
        if known is not None:
            return known
        value = self._number(key, _NUMBER, 10)
        if not 0 <= value < 1 << 32:
            raise self._error(key, "a size")
        self._sizes[key] = value
        return value

    def _number(self, key: str, pattern: re.Pattern[str], base: int) -> int:
        text = self.text(key)
        if pattern.fullmatch(text) is None:
            raise self._error(key, "a number")
        try:
            return int(text, base)
        except ValueError:  # 0x in decimal, or 007 in any base
            raise self._error(key, "a number") from None

    def _error(self, key: str, expected: str) -> FormatError:
        line = self._lines[key]
        return FormatError(f"VMCOREINFO's {key}", offset=line.offset, expected=expected, found=line.value)
