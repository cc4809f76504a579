"""Whether the embedded machine's dump has all that a reader looks for: ours, drgn and readelf."""

import subprocess
from contextlib import contextmanager
from types import MappingProxyType

import drgn
import pytest
from drgn.helpers.linux.kallsyms import load_vmlinux_kallsyms

from fadump.abi.platform import Platform
from fadump.capture.registers import AddedRegisters, with_registers
from fadump.kernel.model import KernelConfig
from fadump.linux.pages.page_class import PageClass
from fadump.linux.summary import summarize
from fadump.linux.system import CrashedSystem, open_system
from fadump.machine.channel import Crash, Crashing, Hello, Save, Saved
from fadump.memory.ranges import Range
from fadump.vmcore.dump import open_dump
from tests.machine.embedded.bench import ALL, LEAST, bench

KERNELS = [(version, page_bytes) for version in ("6.1", "6.12") for page_bytes in (0x1000, 0x10000)]
EVERY_PAGE_CLASS = {PageClass.KERNEL, PageClass.FREE, PageClass.CACHE, PageClass.CACHE_PRIVATE, PageClass.USER}


@contextmanager
def saved(platform, version, page_bytes, radix, **others):
    """The bench, and the path of its dump."""
    kernel = KernelConfig.of_version(version, page_bytes=page_bytes, epoch_seconds=1_700_000_000)
    with bench(platform, kernel=kernel, radix=radix, cpus=4, **others) as guest:
        guest.to_capture(cpu=2)
        guest.ask(Save(), Saved)
        yield guest, f"/proc/self/fd/{guest.disk_fd}"


@pytest.mark.parametrize("platform", ALL)
@pytest.mark.parametrize("radix", [True, False])
@pytest.mark.parametrize(("version", "page_bytes"), KERNELS)
def test_show_lacks_nothing(platform, radix, version, page_bytes):
    with saved(platform, version, page_bytes, radix) as (_guest, path), open_system(path) as system:
        found = summarize(system)
    assert found.missing == ()
    assert (found.page_bytes, found.is_radix, found.crash_time) == (page_bytes, radix, 1_700_000_000)
    assert (found.release, found.kernel.machine) == (f"{version}.0-model", "ppc64le")
    assert found.ending.panic == "sysrq triggered crash"
    assert {page_class for page_class, count in found.page_counts.items() if count} == EVERY_PAGE_CLASS
    assert [cpu.number for cpu in found.cpus] == [0, 1, 2, 3]
    assert [cpu.number for cpu in found.cpus if cpu.crashed] == [2]


@pytest.mark.parametrize("platform", ALL)
@pytest.mark.parametrize("version", ["6.1", "6.12"])
def test_backtraces_have_names_and_reach_their_ends(platform, version):
    with saved(platform, version, 0x10000, radix=True) as (_guest, path), open_system(path) as system:
        traces = {cpu.number: cpu.backtrace for cpu in system.cpus}
    names = {number: [frame.symbol.name for frame in trace.frames if frame.symbol] for number, trace in traces.items()}
    assert all(trace.ended is None for trace in traces.values())
    assert names[2][:4] == ["crash_fadump", "ppc_panic_fadump_handler", "atomic_notifier_call_chain", "panic"]
    assert names[2][-1] == "system_call_vectored_common" and traces[2].frames[-1].trap == 0x3000
    assert names[0] == names[1] == names[3] and names[0][-1] == "start_secondary_prolog"


@pytest.mark.parametrize("radix", [True, False])
@pytest.mark.parametrize("page_bytes", [0x1000, 0x10000])
def test_free_pages_are_those_that_the_kernel_has_left_free(radix, page_bytes):
    seen = []
    with bench(kernel=KernelConfig.of_version("6.12", page_bytes=page_bytes), radix=radix) as guest:
        guest.to_registered()
        kernel = guest.machine.kernel
        used = kernel.memory_in_use
        guest.ask(Crash(0), Crashing)
        guest.until(Hello)
        guest.ask(Save(), Saved)
        with open_system(f"/proc/self/fd/{guest.disk_fd}") as system:
            classes = system.page_classes
            for piece in used:
                pfns = Range(piece.start // page_bytes, piece.end // page_bytes)
                seen += [
                    page_class
                    for page_class in classes.of(pfns).tolist()
                    if page_class in (PageClass.FREE, PageClass.UNKNOWN)
                ]
            free = classes.count([Range(0, LEAST[Platform.PSERIES])])[PageClass.FREE]
    assert seen == [] and free * page_bytes > LEAST[Platform.PSERIES] // 4


@pytest.mark.parametrize("radix", [True, False])
def test_pages_of_vmalloc_are_found(radix):
    with saved(Platform.PSERIES, "6.12", 0x10000, radix) as (_guest, path), open_system(path) as system:
        table = system.memory.word(system.symbols.address("dentry_hashtable"))
        first, second = (system.memory.translation.physical(table + at) for at in (0, 0x10000))
        data = system.memory.read(table, 0x20000)
        assert second != first + 0x10000
        assert data == system.dump.read_physical(first, 0x10000) + system.dump.read_physical(second, 0x10000)
        assert len(set(data)) > 200


@pytest.mark.parametrize("platform", ALL)
@pytest.mark.parametrize("radix", [True, False])
@pytest.mark.parametrize("page_bytes", [0x1000, 0x10000])
def test_drgn_sees_the_same_symbols_memory_and_registers(platform, radix, page_bytes):
    program = drgn.Program()
    with saved(platform, "6.12", page_bytes, radix) as (_guest, path), open_system(path) as system:
        program.set_core_dump(path)
        program.register_symbol_finder("kallsyms", load_vmlinux_kallsyms(program), enable_index=0)
        theirs = {(symbol.name, symbol.address) for symbol in program.symbols()}
        ours = {(symbol.name, symbol.address) for symbol in system.symbols}
        assert ours == theirs and ("crash_fadump", system.symbols.address("crash_fadump")) in ours
        buffer = system.memory.word(system.vmcoreinfo.symbol("prb"))
        assert program.read(buffer, 0x58) == system.memory.read(buffer, 0x58)
        assert program["VMCOREINFO"].string_().decode().startswith("OSRELEASE=6.12.0-model\n")


@pytest.mark.parametrize("platform", ALL)
@pytest.mark.parametrize(("version", "page_bytes"), KERNELS)
def test_registers_can_be_added_where_other_readers_look(platform, version, page_bytes):
    with saved(platform, version, page_bytes, radix=True) as (_guest, path), open_dump(path) as dump:
        assert with_registers(CrashedSystem(dump))[1] == AddedRegisters(cpus=(0, 1, 2, 3))


def test_readelf_finds_headers_and_notes_in_order():
    with saved(Platform.PSERIES, "6.12", 0x10000, radix=True) as (guest, path):
        command = ["readelf", "-hln", path]
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, env={"LC_ALL": "C"}, pass_fds=[guest.disk_fd]
        )
    assert done.stderr == ""
    assert done.stdout.count("NT_PRSTATUS") == 4 and "VMCOREINFO" in done.stdout


REAL_KEYS = MappingProxyType({
    "6.12": """OSRELEASE BUILD-ID PAGESIZE SYMBOL(init_uts_ns) OFFSET(uts_namespace.name) SYMBOL(node_online_map)
SYMBOL(swapper_pg_dir) SYMBOL(_stext) NUMBER(VMALLOC_START) SYMBOL(vmemmap) SYMBOL(mem_section) LENGTH(mem_section)
SIZE(mem_section) OFFSET(mem_section.section_mem_map) NUMBER(SECTION_SIZE_BITS) NUMBER(MAX_PHYSMEM_BITS) SIZE(page)
SIZE(pglist_data) SIZE(zone) SIZE(free_area) SIZE(list_head) SIZE(nodemask_t) OFFSET(page.flags) OFFSET(page._refcount)
OFFSET(page.mapping) OFFSET(page.lru) OFFSET(page._mapcount) OFFSET(page.private) OFFSET(page.compound_head)
OFFSET(pglist_data.node_zones) OFFSET(pglist_data.nr_zones) OFFSET(pglist_data.node_start_pfn)
OFFSET(pglist_data.node_spanned_pages) OFFSET(pglist_data.node_id) OFFSET(zone.free_area) OFFSET(zone.vm_stat)
OFFSET(zone.spanned_pages) OFFSET(free_area.free_list) OFFSET(list_head.next) OFFSET(list_head.prev)
LENGTH(zone.free_area) SYMBOL(prb) SYMBOL(printk_rb_static) SYMBOL(clear_seq) SIZE(printk_ringbuffer)
OFFSET(printk_ringbuffer.desc_ring) OFFSET(printk_ringbuffer.text_data_ring) OFFSET(printk_ringbuffer.fail)
SIZE(prb_desc_ring) OFFSET(prb_desc_ring.count_bits) OFFSET(prb_desc_ring.descs) OFFSET(prb_desc_ring.infos)
OFFSET(prb_desc_ring.head_id) OFFSET(prb_desc_ring.tail_id) SIZE(prb_desc) OFFSET(prb_desc.state_var)
OFFSET(prb_desc.text_blk_lpos) SIZE(prb_data_blk_lpos) OFFSET(prb_data_blk_lpos.begin) OFFSET(prb_data_blk_lpos.next)
SIZE(printk_info) OFFSET(printk_info.seq) OFFSET(printk_info.ts_nsec) OFFSET(printk_info.text_len)
OFFSET(printk_info.caller_id) OFFSET(printk_info.dev_info) SIZE(dev_printk_info) OFFSET(dev_printk_info.subsystem)
LENGTH(printk_info_subsystem) OFFSET(dev_printk_info.device) LENGTH(printk_info_device) SIZE(prb_data_ring)
OFFSET(prb_data_ring.size_bits) OFFSET(prb_data_ring.data) OFFSET(prb_data_ring.head_lpos)
OFFSET(prb_data_ring.tail_lpos) SIZE(atomic_long_t) OFFSET(atomic_long_t.counter) SIZE(latched_seq)
OFFSET(latched_seq.val) LENGTH(free_area.free_list) NUMBER(NR_FREE_PAGES) NUMBER(PG_lru) NUMBER(PG_private)
NUMBER(PG_swapcache) NUMBER(PG_swapbacked) NUMBER(PAGE_SLAB_MAPCOUNT_VALUE) NUMBER(PG_head_mask)
NUMBER(PAGE_BUDDY_MAPCOUNT_VALUE) NUMBER(PAGE_HUGETLB_MAPCOUNT_VALUE) NUMBER(PAGE_OFFLINE_MAPCOUNT_VALUE)
SYMBOL(kallsyms_names) SYMBOL(kallsyms_num_syms) SYMBOL(kallsyms_token_table) SYMBOL(kallsyms_token_index)
SYMBOL(kallsyms_offsets) SYMBOL(kallsyms_relative_base) SYMBOL(node_data) LENGTH(node_data) SYMBOL(vmemmap_list)
SYMBOL(mmu_vmemmap_psize) SYMBOL(mmu_psize_defs) SIZE(vmemmap_backing) OFFSET(vmemmap_backing.list)
OFFSET(vmemmap_backing.phys) OFFSET(vmemmap_backing.virt_addr) SIZE(mmu_psize_def) OFFSET(mmu_psize_def.shift)
SYMBOL(cur_cpu_spec) OFFSET(cpu_spec.cpu_features) OFFSET(cpu_spec.mmu_features) NUMBER(RADIX_MMU) KERNELOFFSET
CRASHTIME""",
})  # fmt: skip
"""By version; what ``fadump run --machine qemu`` has in its dump, with the kernel of ``fadump kernel build``."""


@pytest.mark.parametrize("version", REAL_KEYS)
def test_vmcoreinfo_says_what_a_real_kernel_says(version):
    with saved(Platform.PSERIES, version, 0x10000, radix=True) as (_guest, path), open_system(path) as system:
        assert set(system.vmcoreinfo.values) == set(REAL_KEYS[version].split())
