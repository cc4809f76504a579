import pytest

from fadump.linux.state.memory_use import HugePages
from fadump.linux.state.slab_caches import SlabCache
from fadump.linux.system import CrashedSystem
from tests.linux.host_kernel import LINK, NODE_COUNTS, HostKernel

COUNTS = {name: 10 * (number + 1) for number, name in enumerate(NODE_COUNTS)}
PAGE = 0x10000
CACHES = [("dentry", 192, 0, [(2, 20), (1, 10)]), ("task\x1b", 4096, 3, [(4, 30)]), ("empty", 8, 0, [])]


def state_of(kernel):
    return CrashedSystem(kernel.dump()).state


@pytest.mark.parametrize("byte_order", ["little", "big"])
def test_every_count_is_found_by_its_name(byte_order):
    kernel = HostKernel((), byte_order)
    kernel.add_memory(7, COUNTS, 1000, huge=[(5, 4, 3, 2, 1)])
    found = state_of(kernel).memory
    pages = {
        "slab_reclaimable": 10,
        "slab": 30,
        "anonymous": 30,
        "mapped": 40,
        "cache": 50,
        "dirty": 60,
        "writeback": 70,
        "shared": 80,
        "reclaimable": 100,
        "page_tables": 110,
        "free": 7,
        "total": 1000,
    }
    assert {name: getattr(found, name) for name in pages} == {name: count * PAGE for name, count in pages.items()}
    assert found.kernel_stacks == 100 * 1024 and found.swap_total is None
    assert found.huge == (HugePages(PAGE << 5, 4, 3, 2, 1),) and found.unknown == ()


def test_a_count_below_zero_is_none_at_all():
    kernel = HostKernel()
    kernel.add_memory(-3, COUNTS, 1000)
    assert state_of(kernel).memory.free == 0


def test_what_the_kernel_does_not_count_is_named():
    kernel = HostKernel()
    kernel.add_memory(7, COUNTS, 1000)
    del kernel.names["Dvm_node_stat"]
    found = state_of(kernel).memory
    assert (found.free, found.cache, found.slab) == (7 * PAGE, None, None)
    assert any("vm_node_stat" in sentence for sentence in found.unknown)


def test_a_hostile_number_of_huge_pages_is_bounded():
    kernel = HostKernel()
    kernel.add_memory(7, COUNTS, 1000, huge=[(0xFFFF_FFFF, 4, 3, 2, 1)])
    kernel.poke(kernel.names["Dhugetlb_max_hstate"], b"\xff" * 4)
    assert len(state_of(kernel).memory.huge) <= 16


@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize("byte_order", ["little", "big"])
def test_slab_caches_are_told_the_largest_first(byte_order, older):
    kernel = HostKernel((), byte_order, older=older)
    kernel.add_caches(CACHES)
    found = state_of(kernel).slab_caches
    assert found.caches == (
        SlabCache("task\x1b", 4096, 30, 4, 4 * PAGE << 3),
        SlabCache("dentry", 192, 30, 3, 3 * PAGE),
        SlabCache("empty", 8, 0, 0, 0),
    )
    assert found.left_out == ()


def test_a_list_of_caches_that_is_a_loop_is_told():
    kernel = HostKernel()
    first, second, _third = kernel.add_caches(CACHES)
    kernel.poke(second + LINK, kernel.pack("QQ", first + LINK, first + LINK))
    found = state_of(kernel).slab_caches
    assert len(found.caches) == 3 and "not to its start" in found.left_out[0]
