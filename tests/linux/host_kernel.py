"""A kernel with counts of memory, slab caches, mounts and network devices, whose types it describes by BTF."""

from tests.linux.state_kernel import StateKernel, state_types
from tests.linux.task_kernel import PER_CPU

ZONE_COUNTS = {"NR_FREE_PAGES": 0}
NODE_COUNTS = {
    "NR_SLAB_RECLAIMABLE_B": 1,
    "NR_SLAB_UNRECLAIMABLE_B": 2,
    "NR_ANON_MAPPED": 3,
    "NR_FILE_MAPPED": 4,
    "NR_FILE_PAGES": 5,
    "NR_FILE_DIRTY": 6,
    "NR_WRITEBACK": 7,
    "NR_SHMEM": 8,
    "NR_KERNEL_MISC_RECLAIMABLE": 9,
    "NR_KERNEL_STACK_KB": 10,
    "NR_PAGETABLE": 11,
}
LINK = 16
"""Where a structure of a list has its list_head, in bytes."""


def host_types(btf, *, older=False):
    """All of these; each member takes 8 bytes, but for names of devices, which take 16."""
    state_types(btf, older=older)
    word, integer, char = btf.integer("w", 8), btf.integer("i", 4), btf.integer("c", 1)
    lists = btf.structure("list_head", 16, [("next", word, 0), ("prev", word, 8)])
    name = btf.array(char, 16)

    def words(title, *members, size=None, **others):
        placed = [(member, word, 8 * number) for number, member in enumerate(members) if member != "_"]
        placed += [(member, type_, at) for member, (type_, at) in others.items()]
        return btf.structure(title, size or 8 * len(members), placed)

    btf.enum("zone_stat_item", ZONE_COUNTS)
    btf.enum("node_stat_item", NODE_COUNTS)
    words("hstate", "order", "nr_huge_pages", "free_huge_pages", "resv_huge_pages", "surplus_huge_pages")
    counter = words("atomic_long_t", "counter")
    order = words("kmem_cache_order_objects", "x")
    if older:
        nodes = btf.array(word, 4)
        slots = {"node": (nodes, 40)}
    else:
        slots = {"per_node": (btf.array(words("kmem_cache_per_node_ptrs", "barn", "node"), 4), 40)}
    words("kmem_cache", "name", "size", size=128, list=(lists, LINK), oo=(order, 32), **slots)
    words("kmem_cache_node", size=16, nr_slabs=(counter, 0), total_objects=(counter, 8))
    words("nsproxy", "mnt_ns")
    words("mnt_namespace", "root")
    inner = words("vfsmount", "mnt_root", "mnt_sb", "mnt_flags")
    words(
        "mount",
        "mnt_mountpoint",
        "mnt_devname",
        size=72,
        mnt=(inner, 16),
        mnt_mounts=(lists, 40),
        mnt_child=(lists, 56),
    )
    words("super_block", "s_type", "s_flags")
    words("file_system_type", "name")
    words("dentry", "d_parent", size=16, d_name=(words("qstr", "name"), 8))
    words("net", size=16, dev_base_head=(lists, 0))
    words(
        *("net_device", "ip_ptr", "ip6_ptr", "_", "_", "dev_addr", "ifindex", "flags", "mtu", "addr_len"),
        size=96, dev_list=(lists, LINK), name=(name, 80),
    )  # fmt: skip
    words("in_device", "ifa_list")
    words("in_ifaddr", "ifa_next", size=24, ifa_local=(integer, 8), ifa_prefixlen=(char, 12))
    words("inet6_dev", size=16, addr_list=(lists, 0))
    words("in6_addr", "a", "b")
    words("xarray", "_", "xa_head")
    btf.structure("xa_node", 16 + 64 * 8, [("slots", btf.array(word, 64), 16)])
    words("maple_tree", "_", "ma_root")
    for title, pivots in (("maple_range_64", 15), ("maple_arange_64", 9)):
        slots = [("slot", btf.array(word, pivots + 1), 8 + 8 * pivots)]
        btf.structure(title, 256, [("pivot", btf.array(word, pivots), 8), *slots])
    data = btf.structure("irq_data", 24, [("irq", integer, 4), ("hwirq", word, 8), ("chip", word, 16)])
    words("irq_desc", "kstat_irqs", "action", size=40, irq_data=(data, 16))
    words("irq_chip", "name")
    words("irqaction", "name", "next")
    words("kernel_stat", "irqs_sum", size=48, softirqs=(btf.array(integer, 10), 8))
    words("inet6_ifaddr", size=48, addr=(name, 0), if_list=(lists, LINK), prefix_len=(integer, 32))


class HostKernel(StateKernel):
    """Each ``add_`` builds one thing."""

    more_types = staticmethod(host_types)

    def add_memory(self, free, counts, total, huge=()):
        """Counts of pages: ``counts`` by the names of NODE_COUNTS."""
        self.add("vm_zone_stat", "q", free)
        self.add("vm_node_stat", f"{len(NODE_COUNTS) + 1}q", 0, *(counts[name] for name in NODE_COUNTS))
        self.add("_totalram_pages", "q", total)
        self.add("hstates", f"{5 * len(huge)}Q", *(value for pool in huge for value in pool))
        self.add("hugetlb_max_hstate", "I", len(huge))

    def text(self, text):
        return self.place(text.encode() + b"\0")

    def add_caches(self, caches):
        """(name, bytes of an object, order, [(slabs, objects) of each node]); their addresses."""
        self.add("nr_node_ids", "I", 2)
        self.names["Dslab_caches"] = self.place(bytes(16))
        found = []
        for name, size, order, nodes in caches:
            pointers = [self.place(self.pack("QQ", *node)) for node in nodes] + [0] * (4 - len(nodes))
            if not self.older:
                pointers = [word for pointer in pointers for word in (0, pointer)]
            head = self.pack("QQQQQ", self.text(name), size, 0, 0, order << 16 | 7)
            found.append(self.place((head + self.pack(f"{len(pointers)}Q", *pointers)).ljust(128, b"\0")))
        self.link([self.names["Dslab_caches"], *(cache + LINK for cache in found)])
        return found

    def dentry(self, name, parent=None):
        """A dentry; without a parent, a root."""
        at = self.place(self.pack("QQ", 0, self.text(name)))
        self.poke(at, self.pack("Q", at if parent is None else parent))
        return at

    def mount(self, source, kind, point, root, flags=0, super_flags=0):
        """A mount without children."""
        block = self.place(self.pack("QQ", self.place(self.pack("Q", self.text(kind))), super_flags))
        at = self.place(self.pack("QQQQQ", point, self.text(source), root, block, flags) + bytes(32))
        self.have_children(at, [])
        return at

    def have_children(self, mount, children):
        self.link([mount + 40, *(child + 56 for child in children)])

    def add_device(self, name, *, index, flags=1, hardware=b"", four=(), six=()):
        """A network device with addresses and prefixes."""
        chain = 0
        for address, prefix in reversed(four):
            chain = self.place(self.pack("Q", chain) + bytes(address) + bytes([prefix]) + bytes(11))
        ip = self.place(self.pack("Q", chain)) if four else 0
        ip6 = self.place(bytes(16)) if six else 0
        if six:
            nodes = [self.place(address + bytes(16) + self.pack("I", prefix) + bytes(12)) for address, prefix in six]
            self.link([ip6, *(node + LINK for node in nodes)])
        own = self.place(hardware) if hardware else 0
        head = self.pack("QQQQQQQQQ", ip, ip6, 0, 0, own, index, flags, 1500, len(hardware))
        return self.place(head + bytes(8) + name.encode().ljust(16, b"\0"))

    def xa_node(self, entries):
        """A node of an XArray, as an entry; ``entries`` are by their slots."""
        slots = [entries.get(number, 0) for number in range(64)]
        return self.place(bytes(16) + self.pack("64Q", *slots), align=64) + 2

    def maple_node(self, kind, entries):
        """A node of a maple tree, as an entry: kind 1, a leaf, 2 or 3; ``entries`` are (last number, entry)."""
        pivots = 9 if kind == 3 else 15
        slots = [entry for _last, entry in entries]
        slots += [0] * (pivots + 1 - len(slots))
        lasts = [last for last, _entry in entries[:pivots]]
        packed = self.pack(f"Q{pivots}Q{pivots + 1}Q", 0, *lasts, *[0] * (pivots - len(lasts)), *slots)
        return self.place(packed.ljust(256, b"\0"), align=256) | kind << 3 | 2

    def add_tree(self, name, root):
        self.add(name, "QQ", 0, root)

    def interrupt(self, number, hardware, chip, handlers, counts):
        """An interrupt's descriptor, with what each CPU has counted."""
        action = 0
        for handler in reversed(handlers):
            action = self.place(self.pack("QQ", self.text(handler), action))
        own = PER_CPU + 0x180 + 4 * number
        for cpu, count in enumerate(counts):
            self.poke(self.per_cpu[cpu] + own - PER_CPU, self.pack("I", count))
        kind = self.place(self.pack("Q", self.text(chip))) if chip else 0
        return self.place(self.pack("QQIIQQ", own, action, 0, number, hardware, kind))

    def add_network(self, devices):
        self.names["Dinit_net"] = self.place(bytes(16))
        self.link([self.names["Dinit_net"], *(device + LINK for device in devices)])
