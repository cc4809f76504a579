"""The types of modules, by the BTF that each has of its own.

Linux: struct btf_module and struct btf in kernel/bpf/btf.c. The kernel keeps a copy of a module's BTF, which goes on
where its own ends, also if the module was built apart and has a base of its own; what struct module has is forgotten
once the module runs. A module's types are read when they are asked for.
"""

from collections.abc import Sequence

from fadump.limits import MOST_BTF_BYTES, MOST_MODULES, Budget
from fadump.linux.memory import KernelMemory
from fadump.linux.state.modules import Module
from fadump.linux.symbols.table import SymbolTable
from fadump.linux.types.btf import Btf
from fadump.linux.types.contract import Types, UnknownTypeError
from fadump.linux.types.lists import list_nodes
from fadump.linux.types.structure import Structure


class ModuleTypes:
    """The types of the modules of one kernel."""

    def __init__(self, memory: KernelMemory, symbols: SymbolTable, kernel: Types) -> None:
        """``kernel`` are the kernel's own types.

        :raises UnknownTypeError: they aren't BTF, or don't say where the modules' are.
        :raises FormatError: they make no sense.
        """
        if not isinstance(kernel, Btf):
            raise UnknownTypeError("the types of modules go on where those of the kernel's BTF end, and it has none")
        self._memory = memory
        self._symbols = symbols
        self._kernel = kernel
        self._list = Structure(kernel, "btf_module", {"list": "list", "module": "module", "btf": "btf"})
        self._btf = Structure(kernel, "btf", {"at": "data", "size": "data_size"})
        self._read: dict[int, Btf] = {}
        self._budget = Budget("bytes of the BTF of modules", MOST_BTF_BYTES)

    def of(self, module: Module) -> Types:
        """The kernel's types and those of one module.

        :raises UnknownTypeError: the module has none of its own.
        :raises FormatError: they make no sense, or all modules' are too many.
        :raises FadumpError: the dump doesn't have them.
        """
        if module.at not in self._read:
            at, size = self._copy(module)
            if not at or not size:
                raise UnknownTypeError(f"the module {module.name} doesn't describe its types")
            self._budget.spend(size)
            self._read[module.at] = Btf(self._memory.read(at, size), self._kernel)
        return self._read[module.at]

    def having(self, name: str, modules: Sequence[Module]) -> Types:
        """The types among which there is a name: the kernel's, or else those of the first of ``modules`` that has it.

        :raises UnknownTypeError: none has.
        :raises FadumpError: as :meth:`of`.
        """
        if self._kernel.find(name) is not None:
            return self._kernel
        for module in modules:
            try:
                types = self.of(module)
            except UnknownTypeError:
                continue
            if types.find(name) is not None:
                return types
        raise UnknownTypeError(f"neither the kernel nor a module has a type {name}")

    def _copy(self, module: Module) -> tuple[int, int]:
        """Where the kernel has a copy of a module's BTF, and its size in bytes."""
        budget = Budget("modules with BTF", MOST_MODULES)
        for node in list_nodes(self._memory, self._symbols.address("btf_modules"), budget).nodes:
            values = self._list.read(self._memory, node - self._list.offset("list"))
            if values.number("module") == module.at:
                found = self._btf.read(self._memory, values.count("btf"))
                return found.count("at"), found.count("size")
        return 0, 0
