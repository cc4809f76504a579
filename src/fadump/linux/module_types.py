"""The types of modules, by the BTF that each has of its own.

Linux: struct module in include/linux/module.h, struct btf_module in kernel/bpf/btf.c. A module's BTF goes on where the
kernel's ends. That of a module built apart from the kernel has a base of its own, and the kernel has made it over for
its own types: then that is read. A module's types are read when they are asked for.
"""

from collections.abc import Sequence

from fadump.limits import MOST_BTF_BYTES, MOST_MODULES, Budget
from fadump.linux.btf import Btf
from fadump.linux.lists import list_nodes
from fadump.linux.memory import KernelMemory
from fadump.linux.modules import Module
from fadump.linux.structure import Structure
from fadump.linux.symbols import SymbolTable
from fadump.linux.types import Types, UnknownTypeError


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
        members = {"at": "btf_data", "size": "btf_data_size"}
        self._module = Structure(kernel, "module", members, {"base": "btf_base_data"})
        self._read: dict[int, Btf] = {}
        self._budget = Budget("bytes of the BTF of modules", MOST_BTF_BYTES)

    def of(self, module: Module) -> Btf:
        """The kernel's types and those of one module.

        :raises UnknownTypeError: the module has none of its own.
        :raises FormatError: they make no sense, or all modules' are too many.
        :raises FadumpError: the dump doesn't have them.
        """
        if module.at not in self._read:
            values = self._module.read(self._memory, module.at)
            at, size = values.count("at"), values.count("size")
            if values.number("base"):
                at, size = self._made_over(module)
            if not at or not size:
                raise UnknownTypeError(f"the module {module.name} doesn't describe its types")
            self._budget.spend(size)
            self._read[module.at] = Btf(self._memory.read(at, size), self._kernel)
        return self._read[module.at]

    def having(self, name: str, modules: Sequence[Module]) -> Btf:
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

    def _made_over(self, module: Module) -> tuple[int, int]:
        """Where the kernel has a module's BTF, and its size in bytes."""
        known = Structure(self._kernel, "btf_module", {"list": "list", "module": "module", "btf": "btf"})
        btf = Structure(self._kernel, "btf", {"at": "data", "size": "data_size"})
        budget = Budget("modules with BTF", MOST_MODULES)
        for node in list_nodes(self._memory, self._symbols.address("btf_modules"), budget).nodes:
            values = known.read(self._memory, node - known.offset("list"))
            if values.number("module") == module.at:
                found = btf.read(self._memory, values.count("btf"))
                return found.count("at"), found.count("size")
        return 0, 0
