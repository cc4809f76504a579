"""A crashed kernel with many tasks, which describes its types by BTF as large as a distribution's kernel has it.

Its pages are those of :mod:`benchmarks.truth`; what else it has is built by the tests' builders.
"""

from benchmarks.report import MIB
from benchmarks.truth import PAGE, Truth, add_kallsyms, add_panic_log, describe_pages, functions, truth_of
from tests.linux.btf_builder import BtfBuilder
from tests.linux.host_kernel import NODE_COUNTS, HostKernel, host_types
from tests.linux.kernel_builder import PAGE_OFFSET, add_stack
from tests.linux.task_kernel import AT, KERNEL_THREAD, NSPROXY

_MEMORY_BYTES = 16 * MIB
_OTHER_STRUCTURES = 6_500
_MEMBERS = 30
"""Of each; with their names 5 MB of BTF."""
_STACKS, _FRAMES = 50, 8
_BLOCKED, _SLEEPING = 2, 1
_MODULES, _CACHES, _MOUNTS = 30, 100, 30
_RUNNING = (1, 2)
"""By CPU; the first one crashed."""


def make_tasked_truth(size_bytes: int, tasks: int, symbols: int = 100_000) -> Truth:
    """A kernel with so many tasks: half of them the kernel's own, one of ten blocked, all with one of 50 stacks."""
    kernel = _TasksKernel(_processes(tasks), page_bytes=PAGE, memory_bytes=_MEMORY_BYTES, count=2)
    describe_pages(kernel, kernel.tables, size_bytes)
    add_panic_log(kernel)
    for number in range(_MODULES):
        kernel.add_module(f"module_{number}", version=b"1.0", build_id=bytes(20), symbols=[("begin", 0x10, 1)])
    kernel.add_host(size_bytes // PAGE)
    for pid in range(2, tasks + 1, 2):
        kernel.poke(kernel.tasks[pid] + AT["mm"], kernel.pack("Q", kernel.add_mm((pid, 1, 2, 3))))
    for cpu, pid in enumerate(_RUNNING):
        kernel.run(cpu, pid, nip=PAGE_OFFSET + 4, gpr1=add_stack(kernel, _stack(0)), link=PAGE_OFFSET + 0x88)
    names = functions(symbols) | kernel.names
    add_kallsyms(kernel, dict(sorted(names.items(), key=lambda symbol: symbol[1])))
    return truth_of(kernel, size_bytes)


class _TasksKernel(HostKernel):
    @staticmethod
    def more_types(btf: BtfBuilder, *, older: bool = False) -> None:
        host_types(btf, older=older)
        number_type = btf.integer("number", 8)
        for number in range(_OTHER_STRUCTURES):
            members = [(f"member_{number % 500}_{at}", number_type, 8 * at) for at in range(_MEMBERS)]
            btf.structure(f"structure_{number}", 8 * _MEMBERS, members)

    def add_host(self, pages: int) -> None:
        """The state of the whole system: memory, slab caches, mounts and network devices."""
        self.add("saved_command_line", "Q", self.text("root=/dev/vda1 ro"))
        self.add("tainted_mask", "Q", 0)
        self.add("avenrun", "3Q", 2048, 1024, 512)
        self.add("crashing_cpu", "i", 0)
        self.add_run_queues([1, 1], _RUNNING, [5_000_000_000, 4_000_000_000])
        self.add_memory(pages // 5, dict.fromkeys(NODE_COUNTS, pages // 50), pages)
        self.add_caches([(f"cache_{number}", 64, 0, [(number, 64 * number)]) for number in range(_CACHES)])
        root = self.dentry("/")
        top = self.mount("rootfs", "rootfs", root, root)
        self.have_children(top, [self._mount(f"/dev/vd{number}", root) for number in range(_MOUNTS)])
        proxy = self.place(self.pack("Q", self.place(self.pack("Q", top))))
        self.poke(self.names["Dinit_task"] + NSPROXY, self.pack("Q", proxy))
        self.add_network([self.add_device("lo", index=1, four=[((127, 0, 0, 1), 8)])])

    def _mount(self, device: str, root: int) -> int:
        mount: int = self.mount(device, "ext4", self.dentry("srv", root), self.dentry("/"))
        return mount


def _processes(tasks: int) -> list[list[dict[str, object]]]:
    return [
        [
            {
                "pid": pid,
                "name": b"program-%d" % (pid % 100),
                "state": _SLEEPING if pid % 10 else _BLOCKED,
                "flags": KERNEL_THREAD if pid % 2 else 0,
                "stack": _stack(pid % _STACKS),
                "times": (pid, pid, pid),
            }
        ]
        for pid in range(1, tasks + 1)
    ]


def _stack(number: int) -> list[int]:
    return [PAGE_OFFSET + 0x40 * (1000 * number + frame) + 8 for frame in range(_FRAMES)]
