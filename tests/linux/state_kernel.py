"""A kernel with modules, run queues and other things that answers are read from, whose types it describes by BTF."""

from tests.linux.kernel_builder import VMALLOC_START, PageTables
from tests.linux.task_kernel import PER_CPU, TaskKernel

QUEUE = PER_CPU + 0x100
"""Where CPU 0 has its run queue, as a pointer; so far behind per-CPU variables of tasks."""
MODULE_BYTES = 0x200
NAME, STATE, LIST, MEM, TAINTS, VERSION, KALLSYMS, NOTES = (0x20, 0x0, 0x8, 0x60, 0xE0, 0xE8, 0xF0, 0xF8)
MODULE_AT = VMALLOC_START
MODULE_TEXT = 0x8000


def state_types(btf, *, older=False):
    """The types as 6.4 and later have them; ``older``, as before."""

    def array(element, length):
        return btf.array(element, length)

    word, integer, short, char = (
        btf.integer(name, size) for name, size in (("ulong", 8), ("uint", 4), ("ushort", 2), ("uchar", 1))
    )
    lists = btf.structure("list_head", 16, [("next", word, 0), ("prev", word, 8)])
    layout = [("base", word, 0), ("size", integer, 8), ("text_size", integer, 12)]
    if older:
        of_core = btf.structure("module_layout", 16, layout)
        memory = [("core_layout", of_core, MEM), ("init_layout", of_core, MEM + 16)]
    else:
        memory = [("mem", array(btf.structure("module_memory", 16, layout[:2]), 7), MEM)]
    members = [("state", integer, STATE), ("list", lists, LIST), ("name", array(char, 56), NAME), *memory]
    members += [("taints", word, TAINTS), ("version", word, VERSION), ("kallsyms", word, KALLSYMS)]
    members += [("notes_attrs", word, NOTES)]
    btf.structure("module", MODULE_BYTES, members)
    btf.structure("mod_kallsyms", 32, [("symtab", word, 0), ("num_symtab", integer, 8), ("strtab", word, 16)])
    attribute = btf.structure("attribute", 16, [("name", word, 0)])
    binary = btf.structure("bin_attribute", 32, [("attr", attribute, 0), ("size", word, 16), ("private", word, 24)])
    if older:
        notes = [("notes", integer, 8), ("attrs", array(binary, 0), 16)]
    else:
        group = btf.structure("attribute_group", 40, [("name", word, 0), ("bin_attrs", word, 32)])
        notes = [("grp", group, 0), ("attrs", array(binary, 0), 40)]
    btf.structure("module_notes_attrs", 16 if older else 40, notes)
    btf.structure("btf_module", 32, [("module", word, 0), ("list", lists, 8), ("btf", word, 24)])
    btf.structure("btf", 16, [("data", word, 0), ("data_size", integer, 8)])
    queue = [("nr_running", integer, 0), ("curr", word, 8), ("idle", word, 16), ("clock", word, 24)]
    btf.structure("rq", 32, queue)
    btf.structure("unused", 2, [("short", short, 0)])


class StateKernel(TaskKernel):
    """Modules lie in vmalloc; the first one's text is at MODULE_AT, and each takes a page of 64 KiB."""

    more_types = staticmethod(state_types)

    def __init__(self, processes=(), byte_order="little", *, memory_bytes=2 << 20, **more):
        super().__init__(processes, byte_order, memory_bytes=memory_bytes, **more)
        self.tables = PageTables(self)
        self.modules = []
        self.copies = []
        self.names["Dbtf_modules"] = self.place(bytes(16))
        self.names["Dmodules"] = self.place(self.pack("QQ", 0, 0))
        self.link_modules()

    def add_module(self, name, *, taints=0, state=0, version=b"", build_id=b"", symbols=(), btf=b""):
        """A module whose ``symbols`` are (name, offset, section); it takes 0x5000 bytes of text and 0x100 of data."""
        at = MODULE_AT + 0x10000 * len(self.modules)
        self.tables.map(at, self.place(bytes(0x10000), align=0x10000) - 0xC000_0000_0000_0000)
        module = self.place(bytes(MODULE_BYTES))
        self.modules.append(module)
        self.poke(module + STATE, self.pack("I", state))
        self.poke(module + NAME, name.encode() + b"\0")
        self.poke(module + MEM, self.pack("QII", at, 0x5000, 0x4000 if self.older else 0))
        if not self.older:
            self.poke(module + MEM + 16, self.pack("QII", at + MODULE_TEXT, 0x100, 0))
        text = self.place(version + b"\0") if version else 0
        notes = self._notes(build_id) if build_id else 0
        self.poke(module + TAINTS, self.pack("QQQQ", taints, text, self._kallsyms(at, symbols), notes))
        if btf:
            copy = self.place(self.pack("QII", self.place(btf), len(btf), 0))
            self.copies.append(self.place(self.pack("QQQQ", module, 0, 0, copy)))
        self.link_modules()
        return at

    def link_modules(self):
        self.link([self.names["Dmodules"], *(module + LIST for module in self.modules)])
        self.link([self.names["Dbtf_modules"], *(copy + 8 for copy in self.copies)])

    def _notes(self, build_id):
        note = self.place(self.pack("III", 4, len(build_id), 3) + b"GNU\0" + build_id)
        names = [self.place(name + b"\0") for name in (b".note.Linux", b".note.gnu.build-id")]
        attributes = [self.pack("QQQQ", name, 0, 16 + len(build_id), note) for name in names]
        if self.older:
            return self.place(self.pack("QII", 0, 2, 0) + b"".join(attributes))
        start = self.place(bytes(40) + b"".join(attributes))
        pointers = self.place(self.pack("QQQ", start + 40, start + 72, 0))
        self.poke(start + 32, self.pack("Q", pointers))
        return start

    def _kallsyms(self, at, symbols):
        names, table = b"\0", bytes(24)
        for name, offset, section in symbols:
            table += self.pack("IBBHQQ", len(names), 0, 0, section, at + offset, 0)
            names += name.encode() + b"\0"
        values = (self.place(table), len(symbols) + 1, 0, self.place(names), 0)
        return self.place(self.pack("QIIQQ", *values))

    def add_run_queues(self, runnable, current, clock=(0, 0)):
        """What each CPU has to run, by pid; None: it is idle."""
        self.names["Drunqueues"] = QUEUE
        for cpu, (count, pid) in enumerate(zip(runnable, current, strict=True)):
            task = self.tasks[pid] if pid is not None else 0xC000_0000_0000_0040
            queue = self.pack("I4xQQQ", count, task, 0xC000_0000_0000_0040, clock[cpu])
            self.poke(self.per_cpu[cpu] + QUEUE - PER_CPU, queue)
