"""Builds crashed kernels with several CPUs: masks, struct pacas, per-CPU offsets and crash_notes."""

from fadump.abi.linux.pt_regs import REGISTER_NAMES
from tests.linux.kernel_builder import PAGE_OFFSET, FakeKernel, add_kallsyms

INNER = PAGE_OFFSET + 0x8000
USER = 0x4000
"""MSR_PR."""
POSSIBLE = 128
CRASH_NOTES_BYTES = 536
PACA_BYTES = 0x40


def registers(**values):
    return dict.fromkeys(REGISTER_NAMES, 0) | values


class SmpKernel(FakeKernel):
    """A kernel whose n-th note has INNER + n as its nip; ``owners`` are the CPUs whose pacas r13 has there.

    An owner of None has something else in r13, as user space has.
    """

    def __init__(self, count, *, online=None, present=None, crashing=None, owners=None, byte_order="little", **more):
        super().__init__(byte_order, **more)
        self.names = {"T_stext": PAGE_OFFSET}
        self.pacas = [self.place(bytes(PACA_BYTES)) for _ in range(POSSIBLE)]
        self.add("nr_cpu_ids", "I", POSSIBLE)
        if online is not None:
            self.add("__cpu_online_mask", "QQ", online & (1 << 64) - 1, online >> 64)
        if present is not None:
            self.add("__cpu_present_mask", "QQ", present & (1 << 64) - 1, present >> 64)
        if crashing is not None:
            self.add("crashing_cpu", "i", crashing)
        if owners is not None:
            self.add("paca_ptrs", "Q", self.place(self.pack(f"{POSSIBLE}Q", *self.pacas)))
        for number in range(count):
            owner = None if owners is None else owners[number]
            r13 = 0x7FFF_1000 if owner is None else self.pacas[owner]
            self.cpus.append(registers(nip=INNER + number, gpr13=r13))

    def add(self, name, fields, *values):
        self.names[f"D{name}"] = self.place(self.pack(fields, *values))

    def add_crash_notes(self, stride=0x400, page_gap=0):
        """crash_notes of every possible CPU, zeros; ``page_gap`` is how far before a page's end the first one is."""
        area = self.place(bytes(stride * POSSIBLE), align=self.page_bytes) + page_gap
        pointer = 0x1000
        self.add("crash_notes", "Q", pointer)
        offsets = [area + stride * number - pointer for number in range(POSSIBLE)]
        self.add("__per_cpu_offset", f"{POSSIBLE}Q", *offsets)
        self.crash_notes = [area + stride * number for number in range(POSSIBLE)]

    def core(self):
        if "SYMBOL(kallsyms_names)" not in self.facts:
            add_kallsyms(self, dict(sorted(self.names.items(), key=lambda item: item[1])))
        return super().core()
