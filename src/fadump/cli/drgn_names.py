"""drgn's plugin for ``fadump drgn``: names of modules' functions from the kernel's memory, where no file has them.

It runs in drgn's process, and needs nothing of fadump there.
"""

from contextlib import suppress

from drgn import FaultError, Program, Symbol, SymbolIndex
from drgn.helpers.linux.kallsyms import module_kallsyms
from drgn.helpers.linux.module import for_each_module

_AFTER_ALL_OTHERS = -1


class _ModuleNames:
    """The symbols of all modules whose own can be read, read when one is first asked for."""

    def __init__(self) -> None:
        self._index: SymbolIndex | None = None

    def __call__(self, program: Program, name: str | None, address: int | None, one: bool) -> list[Symbol]:
        """drgn's symbol finder."""
        if self._index is None:
            self._index = SymbolIndex(_symbols(program))
        found: list[Symbol] = self._index(program, name, address, one)
        return found


def _symbols(program: Program) -> list[Symbol]:
    symbols: list[Symbol] = []
    with suppress(LookupError, FaultError):  # no vmlinux, or a list that the dump lacks
        for module in for_each_module(program):
            with suppress(LookupError, FaultError):
                symbols += module_kallsyms(module)
    return symbols


def drgn_prog_set(program: Program) -> None:
    """drgn's hook: a dump has been opened."""
    program.register_symbol_finder("modules in memory", _ModuleNames(), enable_index=_AFTER_ALL_OTHERS)
