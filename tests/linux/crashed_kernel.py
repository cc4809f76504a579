"""One kernel with everything that the commands show."""

from fadump.abi.linux.pt_regs import REGISTER_NAMES
from tests.linux.kernel_builder import PAGE_OFFSET, Log, Message, add_kallsyms, add_old_log, add_stack
from tests.linux.test_pages import LRU, kernel_with

MESSAGES = [
    Message(b"Linux version 6.12.0-fake", 0),
    Message(b"sysrq: Trigger a crash", 900_000_000),
    Message(b"Kernel panic - not syncing: sysrq triggered crash", 901_849_198),
]
INNER, OUTER = PAGE_OFFSET + 0x8000, PAGE_OFFSET + 0x9000


def crashed_kernel(byte_order="little", mmu="radix", *, with_log=True, with_old_log=False, with_symbols=True):
    kernel = kernel_with([{"flags": LRU}, {"mapcount": 0xF000_0000}], byte_order, mmu=mmu)
    kernel.facts["CRASHTIME"] = "1795468935"
    if with_old_log:
        add_old_log(kernel, MESSAGES)
    elif with_log:
        Log(kernel, MESSAGES)
    pointer = add_stack(kernel, [OUTER + 8])
    kernel.cpus = [dict.fromkeys(REGISTER_NAMES, 0) | {"nip": INNER + 4, "gpr1": pointer, "link": OUTER}]
    if with_symbols:
        symbols = {"T_stext": PAGE_OFFSET, "Tinner": INNER, "Touter": OUTER, "Tend": OUTER + 0x100}
        symbols["Dnr_cpu_ids"] = kernel.place(kernel.pack("I", 1))
        symbols["D__cpu_online_mask"] = kernel.place(kernel.pack("Q", 1))
        symbols["Dcrashing_cpu"] = kernel.place(kernel.pack("i", 0))
        add_kallsyms(kernel, dict(sorted(symbols.items(), key=lambda item: item[1])))
    return kernel
