"""A kernel with tasks, whose types it describes by BTF, as several versions have them."""

from fadump.abi.linux.pt_regs import REGISTER_NAMES
from tests.linux.btf_builder import FWD, BtfBuilder
from tests.linux.kernel_builder import PAGE_OFFSET, add_stack
from tests.linux.smp_builder import SmpKernel

TASK_BYTES = 0x140
COMM = 0x60
"""Where members are, in bytes."""
AT = {"state": 0, "exit_state": 8, "on_cpu": 12, "flags": 16, "pid": 20, "tgid": 24, "cpu": 28, "tasks": 32}
AT |= {"thread_node": 48, "real_parent": 64, "signal": 72, "real_cred": 80, "mm": 88, "comm": COMM, "utime": 0x70}
AT |= {"stime": 0x78, "start_boottime": 0x80, "ksp": 0x88}
THREAD_HEAD, CURRENT, UID, NSPROXY = 8, 24, 4, 0xA0
PER_CPU = PAGE_OFFSET + 0x40
"""Where CPU 0's own variables are, as a pointer."""
KERNEL_THREAD = 0x0020_0000
INNER, MIDDLE, OUTER, END = (PAGE_OFFSET + 0x9000 + 0x1000 * number for number in range(4))


def task_types(byte_order="little", *, older=False, without=(), more=None):
    """The types as 6.2 and later have them; ``older``, as before 5.14. ``more`` is called to add others."""
    btf = BtfBuilder(byte_order)
    word, integer, char = btf.integer("long", 8), btf.integer("int", 4), btf.integer("char", 1)
    task, signal, cred, mm = (
        btf.pointer(btf.add(FWD, name)) for name in ("task_struct", "signal_struct", "cred", "mm_struct")
    )
    lists = btf.structure("list_head", 16, [("next", word, 0), ("prev", word, 8)])
    thread = btf.structure("thread_struct", 8, [("ksp", word, 0)])
    info = btf.structure("thread_info", 4, [("cpu", integer, 0)])
    signed = btf.integer("s64", 8, signed=True)
    of = {"state" if older else "__state": (word if older else integer, AT["state"])}
    of |= {name: (integer, AT[name]) for name in ("exit_state", "on_cpu", "flags", "pid", "tgid")}
    of |= {"cpu": (integer, AT["cpu"])} if older else {"thread_info": (info, AT["cpu"])}
    of |= {"tasks": (lists, 32), "thread_node": (lists, 48), "real_parent": (task, 64), "signal": (signal, 72)}
    of |= {"real_cred": (cred, 80), "mm": (mm, 88), "comm": (btf.array(char, 16), COMM)}
    of |= {name: (word, AT[name]) for name in ("utime", "stime", "start_boottime")} | {"thread": (thread, AT["ksp"])}
    of |= {"nsproxy": (word, NSPROXY)}
    btf.structure(
        "task_struct", TASK_BYTES, [(name, type_, at) for name, (type_, at) in of.items() if name not in without]
    )
    btf.structure("signal_struct", 24, [("thread_head", lists, THREAD_HEAD)])
    btf.structure("paca_struct", 64, [("__current", task, CURRENT)])
    kuid = btf.structure("kuid_t", 4, [("val", integer, 0)])
    btf.structure("cred", 16, [("uid", kuid, UID)])
    if older:
        counter = btf.structure("atomic64_t", 8, [("counter", signed, 0)])
        counts = btf.structure("mm_rss_stat", 32, [("count", btf.array(counter, 4), 0)])
    else:
        counts = btf.array(btf.structure("percpu_counter", 16, [("count", signed, 0), ("counters", word, 8)]), 4)
    btf.structure("mm_struct", 80, [("rss_stat", counts, 8)])
    if more is not None:
        more(btf, older=older)
    return btf.data()


class TaskKernel(SmpKernel):
    """``processes`` are lists of threads, each a dictionary of what differs from the defaults of :meth:`_fill`.

    Tasks are in ``tasks`` by pid. CPUs 0 and 1 are online.
    """

    more_types = None

    def __init__(self, processes, byte_order="little", *, older=False, without=(), count=0, btf=True, **more):
        super().__init__(count, online=3, owners=[0, 1][:count], byte_order=byte_order, **more)
        self.older = older
        self.tasks = {}
        self.names |= {"Tinner": INNER, "Tmiddle": MIDDLE, "Touter": OUTER, "Tend": END}
        if btf:
            data = task_types(byte_order, older=older, without=without, more=self.more_types)
            self.names["D__start_BTF"] = self.place(data)
            self.names["D__stop_BTF"] = self.names["D__start_BTF"] + len(data)
        first = self.place(bytes(TASK_BYTES))
        self.names["Dinit_task"] = first
        self.link([first + AT["tasks"], *(self.add_process(threads) + AT["tasks"] for threads in processes)])
        area = self.place(bytes(0x400))
        self.per_cpu = [area, area + 0x200]
        self.add("__per_cpu_offset", "QQ", *(start - PER_CPU for start in self.per_cpu))

    def link(self, nodes):
        """A list of list_heads."""
        for node, next_, previous in zip(nodes, [*nodes[1:], nodes[0]], [nodes[-1], *nodes[:-1]], strict=True):
            self.poke(node, self.pack("QQ", next_, previous))

    def add_process(self, threads):
        """The threads of a process, which no list leads to yet; where its first one is."""
        addresses = [self.place(bytes(TASK_BYTES)) for _thread in threads]
        signal = self.place(bytes(24))
        self.link([signal + THREAD_HEAD, *(address + AT["thread_node"] for address in addresses)])
        for address, thread in zip(addresses, threads, strict=True):
            self._fill(address, signal, threads[0]["pid"], **thread)
        return addresses[0]

    def _fill(
        self, address, signal, tgid, *, pid, name=b"task", state=1, exit_state=0, cpu=0, on_cpu=0, flags=0, parent=None,
        user=0, mm=0, stack=(), times=(0, 0, 0),
    ):  # fmt: skip
        self.tasks[pid] = address
        self.poke(address, self.pack("Q" if self.older else "I", state))
        self.poke(address + 8, self.pack("IIIIII", exit_state, on_cpu, flags, pid, tgid, cpu))
        cred = self.place(self.pack("IIQ", 0, user, 0))
        self.poke(address + 64, self.pack("QQQQ", self.tasks.get(parent, 0), signal, cred, mm) + name)
        self.poke(address + AT["utime"], self.pack("QQQ", *times))
        self.poke(address + AT["ksp"], self.pack("Q", add_stack(self, stack) if stack else 0))

    def add_mm(self, counts, each=None):
        """A process's memory: pages by kind, and what each CPU has of each kind in newer kernels."""
        if self.older:
            return self.place(bytes(8) + self.pack("4q", *counts) + bytes(40))
        packed = bytes(8)
        for number, count in enumerate(counts):
            packed += self.pack("qQ", count, PER_CPU + 0x10 * number if each else 0)
            for cpu, values in enumerate(each or []):
                self.poke(self.per_cpu[cpu] + 0x10 * number, self.pack("i", values[number]))
        return self.place(packed + bytes(8))

    def run(self, cpu, pid, **registers):
        """Have a CPU run a task."""
        self.poke(self.pacas[cpu] + CURRENT, self.pack("Q", self.tasks[pid]))
        self.poke(self.tasks[pid] + AT["on_cpu"], self.pack("I", 1))
        self.cpus[cpu] |= dict.fromkeys(REGISTER_NAMES, 0) | {"gpr13": self.pacas[cpu]} | registers
