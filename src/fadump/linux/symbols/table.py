"""Names of kernel addresses, from :mod:`fadump.linux.symbols.kallsyms` or :mod:`fadump.linux.vmlinux.symbols`."""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from typing import NamedTuple

from fadump.errors import FadumpError


class UnknownSymbolError(FadumpError, LookupError):
    """The kernel doesn't have, or doesn't list, the symbol ``name``."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(
            f"the crashed kernel lists no symbol {name}: give its vmlinux, or a dump with all of its memory"
        )


class Symbol(NamedTuple):
    """A name and its virtual address; ``kind`` is a letter of nm(1): "T" global text, "d" local data."""

    name: str
    address: int
    kind: str


@dataclass(frozen=True, slots=True)
class SymbolOffset:
    """An address as symbol and offset, in bytes; ``size_bytes`` is how far it is to the next symbol.

    ``module`` is the name of the module that it is in, "" if that is the kernel itself.
    """

    name: str
    offset: int
    size_bytes: int
    module: str = ""

    def __str__(self) -> str:
        return f"{self.name}+{self.offset:#x}/{self.size_bytes:#x}{f' [{self.module}]' if self.module else ''}"


Lookup = Callable[[int], SymbolOffset | None]


class SymbolTable:
    """The symbols of one kernel. ``modules`` looks for those of its modules, which aren't among them."""

    modules: Lookup | None = None

    def __init__(self, symbols: Iterable[Symbol]) -> None:
        """Of several symbols at one address, or of one name, the first is used, as in Linux."""
        self._sorted = sorted(symbols, key=attrgetter("address"))
        self._addresses = [symbol.address for symbol in self._sorted]

    @cached_property
    def _by_name(self) -> Mapping[str, Symbol]:
        return {symbol.name: symbol for symbol in reversed(self._sorted)}

    @cached_property
    def _others(self) -> Counter[str]:
        by_name = self._by_name
        return Counter(symbol.name for symbol in self._sorted if symbol.address != by_name[symbol.name].address)

    def __iter__(self) -> Iterator[Symbol]:
        return iter(self._sorted)

    def __len__(self) -> int:
        return len(self._sorted)

    def __contains__(self, name: str) -> bool:
        return name in self._by_name

    def address(self, name: str) -> int:
        """The virtual address of a symbol.

        :raises UnknownSymbolError: there is none of that name.
        """
        try:
            return self._by_name[name].address
        except KeyError:
            raise UnknownSymbolError(name) from None

    def others(self, name: str) -> int:
        """How many more symbols of a name there are, at other addresses than the first one's."""
        return self._others[name]

    def symbol(self, address: int) -> SymbolOffset | None:
        """The symbol at or before an address; before the first one and after the last, a module's, or None."""
        after = bisect_right(self._addresses, address)
        if not 0 < after < len(self._sorted):
            return None if self.modules is None else self.modules(address)
        start = self._addresses[after - 1]
        first = self._sorted[bisect_left(self._addresses, start)]
        return SymbolOffset(first.name, address - start, self._addresses[after] - start)
