from hypothesis import given
from hypothesis import strategies as st

from fadump.kernel.plan.boot_memory import Region
from fadump.kernel.plan.capture_kernel import boot_memory_top, capture_reservation
from fadump.kernel.traits import GIB, LINUX_6_1, LINUX_6_12, MIB
from fadump.memory.ranges import Range, RangeSet
from tests.kernel.systems import powernv, pseries, reserved


def capture(system, cmdline, kernel=LINUX_6_12):
    return capture_reservation(system.platform, system.memory, reserved(system, kernel, cmdline))


def test_everything_above_boot_memory_is_reserved():
    found = capture(pseries(), "fadump=on crashkernel=512M")
    assert found.boot_memory_top == 512 * MIB
    assert found.ranges == (Range(512 * MIB, 2 * GIB),)
    assert (found.reserved_bytes, found.usable_bytes) == (1536 * MIB, 512 * MIB)


def test_each_range_of_memory_is_reserved_by_itself():
    found = capture(pseries((0, 1024), (2048, 3072)), "fadump=on crashkernel=512M")
    assert found.ranges == (Range(512 * MIB, GIB), Range(2 * GIB, 3 * GIB))


def test_a_hole_that_was_counted_wrongly_moves_the_top():
    """The first kernel took 700 MiB for the top, and registered no more than the first 600 MiB."""
    system = pseries((0, 100), (200, 4096))
    assert reserved(system, LINUX_6_12, "fadump=on crashkernel=600M").boot_memory.top == 700 * MIB
    assert capture(system, "fadump=on crashkernel=600M").boot_memory_top == 600 * MIB


def test_an_older_kernel_knows_of_no_holes():
    system = pseries((0, 300), (512, 4096))
    assert capture(system, "fadump=on crashkernel=512M", LINUX_6_1).boot_memory_top == 512 * MIB


def test_an_endless_range_leaves_nothing_to_reserve():
    found = capture(pseries((0, 300), (512, 4096)), "fadump=on crashkernel=512M")
    assert found.ranges == ()
    assert found.usable_bytes == 3884 * MIB


def test_powernv_does_the_same_and_names_its_own_source():
    found = capture(powernv((0, 65536)), "fadump=on crashkernel=10G")
    assert found.ranges == (Range(10 * GIB, 64 * GIB),)
    assert found.reasons[0].source.endswith("powernv/opal-fadump.c:opal_fadump_get_config")
    pseries_reason = capture(pseries(), "fadump=on").reasons[0]
    assert pseries_reason.source.endswith("pseries/rtas-fadump.c:rtas_fadump_get_config")


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(1, 100)), min_size=1, max_size=6))
def test_the_top_is_the_sum_of_sizes_and_holes(pieces):
    regions, at = [], 0
    for hole, size in pieces:
        regions.append(Region(at + hole, size))
        at += hole + size
    assert boot_memory_top(regions) == at


def test_reserved_and_usable_are_all_of_ram():
    for blocks in ([(0, 2048)], [(0, 1024), (3000, 5000)]):
        system = pseries(*blocks)
        found = capture(system, "fadump=on")
        assert found.reserved_bytes + found.usable_bytes == system.memory.ram_bytes
        assert RangeSet(found.ranges).size_bytes == found.reserved_bytes
    assert capture(powernv(), "fadump=on").reserved_bytes == (4096 - 768) * MIB
