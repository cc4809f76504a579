"""Names of addresses in modules.

Linux: struct mod_kallsyms in include/linux/module.h, find_kallsyms_symbol() in kernel/module/kallsyms.c. A module's
table of symbols is that of its file, with virtual addresses; it is read when an address of the module is looked for.
Nothing in it is trusted: all tables together are limited.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from fadump.abi.layout import STRUCT_ORDER
from fadump.errors import LimitError
from fadump.limits import MOST_SYMBOLS, Budget
from fadump.linux.memory import UNREADABLE_ADDRESS, KernelMemory
from fadump.linux.state.modules import Module
from fadump.linux.symbols.table import SymbolOffset
from fadump.linux.types.contract import Types
from fadump.linux.types.structure import Structure

_SYMBOL_BYTES = 24
_MOST_NAME_BYTES = 512
"""KSYM_NAME_LEN."""
_NOT_NAMES = (".L", "$", "L0")
"""How the names of labels begin that are none of functions or variables: is_mapping_symbol()."""

Symbols = npt.NDArray[np.void]


class ModuleSymbols:
    """The symbols of all modules of one kernel."""

    def __init__(self, memory: KernelMemory, types: Types, modules: Sequence[Module]) -> None:
        """Find where everything is.

        :raises UnknownTypeError: the kernel's types lack a member that is needed.
        :raises FormatError: they make no sense.
        """
        self._memory = memory
        self._modules = modules
        self._module = Structure(types, "module", {"kallsyms": "kallsyms"})
        self._kallsyms = Structure(
            types, "mod_kallsyms", {"symbols": "symtab", "count": "num_symtab", "names": "strtab"}
        )
        self._budget = Budget("symbols of modules", MOST_SYMBOLS)
        self._read: dict[int, tuple[Symbols, int]] = {}

    def symbol(self, address: int) -> SymbolOffset | None:
        """The symbol at or before an address in a module; None: there is none, or it can't be read."""
        for module in self._modules:
            for range_ in module.memory:
                if range_.start <= address < range_.end:
                    try:
                        return self._symbol(module, range_.start, range_.end, address)
                    except (*UNREADABLE_ADDRESS, LimitError):
                        return None
        return None

    def _symbol(self, module: Module, start: int, end: int, address: int) -> SymbolOffset | None:
        table, names = self._table(module)
        values = table["value"]
        at = int(np.searchsorted(values, np.uint64(address), "right"))
        after = int(values[at]) if at < len(values) else end
        while at:
            at -= 1
            value = int(values[at])
            if value < start:
                return None
            name = self._memory.string(names + int(table["name"][at]), _MOST_NAME_BYTES)
            text = name.decode("utf-8", "backslashreplace")
            if text and not text.startswith(_NOT_NAMES):
                return SymbolOffset(text, address - value, min(after, end) - value, module.name)
        return None

    def _table(self, module: Module) -> tuple[Symbols, int]:
        """A module's symbols by their values, and where their names are."""
        if module.at not in self._read:
            place = self._module.read(self._memory, module.at).count("kallsyms")
            values = self._kallsyms.read(self._memory, place)
            count = values.count("count")
            self._budget.spend(count)
            raw = self._memory.read(values.count("symbols"), count * _SYMBOL_BYTES)
            order = STRUCT_ORDER[self._memory.byte_order]
            fields = [("name", f"{order}u4"), ("kind", "2u1"), ("section", f"{order}u2"), ("value", f"{order}u8")]
            table = np.frombuffer(raw, np.dtype([*fields, ("size", f"{order}u8")]))
            table = table[(table["section"] != 0) & (table["name"] != 0)]
            self._read[module.at] = table[np.argsort(table["value"], kind="stable")], values.count("names")
        return self._read[module.at]
