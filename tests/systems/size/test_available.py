"""What a running kernel has available, against numbers worked out by hand from counters that a builder placed."""

import os
from contextlib import contextmanager

import pytest

from fadump.memory.guest import GuestMemory, Segment
from fadump.memory.ranges import Range, RangeSet
from fadump.systems.size.available import LeastAvailable, find_counters
from tests.linux.kernel_builder import FakeKernel, add_kallsyms
from tests.vmcore.core_builder import note

PAGE = 0x10000
NAMES = {"little": b"ppc64le", "big": b"ppc64"}


def counting_kernel(byte_order="little", *, free, file=(0, 0), slab=0, reserve, name="Dvm_zone_stat"):
    kernel = FakeKernel(byte_order)
    symbols = {
        name: kernel.place(kernel.pack("3q", free, 7, 7)),
        "Dvm_node_stat": kernel.place(kernel.pack("8q", 1000, 1000, *file, 1000, slab, 1000, 1000)),
        "Dtotalreserve_pages": kernel.place(kernel.pack("Q", reserve)),
    }
    add_kallsyms(kernel, symbols)
    names = (b"Linux", b"guest", b"6.12.0-fake", b"#1 SMP", NAMES[byte_order], b"(none)")
    kernel.symbol("init_uts_ns", kernel.place(b"".join(name.ljust(65, b"\0") for name in names)))
    kernel.place(note("VMCOREINFO", 0, kernel.vmcoreinfo(), byte_order), align=4)
    kernel.counters = symbols
    return kernel


@contextmanager
def memory_of(kernel):
    fd = os.memfd_create("guest")
    os.ftruncate(fd, len(kernel.memory))
    with GuestMemory([Segment(Range(0, len(kernel.memory)), fd, 0)]) as memory:
        memory.write(0, bytes(kernel.memory))
        yield memory
    os.close(fd)


@pytest.mark.parametrize("byte_order", ["little", "big"])
@pytest.mark.parametrize(("counts", "pages"), [
    ({"free": 100, "reserve": 30}, 70),
    ({"free": 100, "file": (40, 60), "reserve": 30}, 70 + 100 - 30),  # the reserve is less than half of the file pages
    ({"free": 100, "file": (10, 10), "slab": 8, "reserve": 30}, 70 + 10 + 4),  # half of either is kept
    ({"free": 20, "reserve": 30}, 0),
    ({"free": 100, "file": (-3, 0), "reserve": 30}, 70),  # other CPUs have counted the rest
])  # fmt: skip
def test_what_is_available_is_what_linux_makes_of_its_counters(byte_order, counts, pages):
    with memory_of(counting_kernel(byte_order, **counts)) as memory:
        assert find_counters(memory, memory.ram).available_bytes(memory) == pages * PAGE


@pytest.mark.parametrize("counts", [{"free": 0, "reserve": 30}, {"free": 100, "reserve": 0}])
def test_a_kernel_that_has_only_begun_counts_nothing(counts):
    with memory_of(counting_kernel(**counts)) as memory:
        assert find_counters(memory, memory.ram).available_bytes(memory) is None


def test_the_least_of_all_looks_is_kept():
    kernel = counting_kernel(free=100, reserve=30)
    with memory_of(kernel) as memory:
        least = LeastAvailable(memory)
        least.boot_memory = memory.ram
        seen = []
        for free in (100, 50, 80):
            kernel.poke(kernel.counters["Dvm_zone_stat"], kernel.pack("q", free))
            memory.write(0, bytes(kernel.memory))
            least.look()
            seen.append(least.least_bytes)
    assert seen == [70 * PAGE, 20 * PAGE, 20 * PAGE]


def test_a_kernel_that_does_not_describe_itself_yet_is_looked_at_again():
    kernel = counting_kernel(free=100, reserve=30)
    with memory_of(FakeKernel()) as memory:
        least = LeastAvailable(memory)
        least.boot_memory = memory.ram
        least.look()
        assert least.least_bytes is None
        memory.write(0, bytes(kernel.memory))
        least.look()
        assert least.least_bytes == 70 * PAGE


def test_what_lies_outside_boot_memory_is_another_kernel_s():
    with memory_of(counting_kernel(free=100, reserve=30)) as memory:
        least = LeastAvailable(memory)
        least.boot_memory = RangeSet([Range(0, 0x100)])
        least.look()
        assert least.least_bytes is None


def test_a_kernel_that_seems_to_say_something_else_on_its_way_to_its_place_is_looked_at_again():
    kernel = counting_kernel(free=100, reserve=30, name="Dvm_other_stat")
    with memory_of(kernel) as memory:
        least = LeastAvailable(memory)
        least.boot_memory = memory.ram
        least.look()
        assert least.least_bytes is None
        memory.write(0, bytes(counting_kernel(free=100, reserve=30).memory))
        least.look()
        assert least.least_bytes == 70 * PAGE
