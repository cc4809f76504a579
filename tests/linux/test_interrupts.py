import pytest

from fadump.limits import Budget
from fadump.linux.state.interrupts import Interrupt
from fadump.linux.system import CrashedSystem
from fadump.linux.types.trees import in_maple_tree, in_xarray
from tests.linux.host_kernel import HostKernel
from tests.linux.task_kernel import PER_CPU

LAST = (1 << 64) - 1
VALUES = [0xC000_0000_0000_1000 + 0x100 * number for number in range(40)]


def values_in(kernel, read, name="tree"):
    system = CrashedSystem(kernel.dump())
    return list(read(system.memory, system.structures, kernel.names[f"D{name}"], Budget("nodes", 100)))


@pytest.mark.parametrize("byte_order", ["little", "big"])
def test_an_xarray_has_its_pointers_in_their_order(byte_order):
    kernel = HostKernel((), byte_order)
    low = kernel.xa_node({0: VALUES[0], 5: VALUES[1], 7: 0x1235, 8: 0x402})  # a number and a mark are no pointers
    high = kernel.xa_node({63: VALUES[2]})
    kernel.add_tree("tree", kernel.xa_node({0: low, 1: high, 2: 6}))
    assert values_in(kernel, in_xarray) == VALUES[:3]


@pytest.mark.parametrize(("root", "found"), [(0, []), (VALUES[0], VALUES[:1])])
@pytest.mark.parametrize("read", [in_xarray, in_maple_tree])
def test_a_tree_of_one_or_none(read, root, found):
    kernel = HostKernel()
    kernel.add_tree("tree", root)
    assert values_in(kernel, read) == found


@pytest.mark.parametrize("kind", [2, 3])
@pytest.mark.parametrize("byte_order", ["little", "big"])
def test_a_maple_tree_has_its_pointers_in_their_order(byte_order, kind):
    kernel = HostKernel((), byte_order)
    first = kernel.maple_node(1, [(0, VALUES[0]), (4, 0), (5, VALUES[1]), (9, VALUES[2]), (99, 0xBAD0)])
    full = kernel.maple_node(1, [(10 + number, VALUES[3 + number]) for number in range(15)] + [(25, VALUES[18])])
    last = kernel.maple_node(1, [(30, VALUES[19]), (LAST, 0), (0, 0xBAD0)])
    kernel.add_tree("tree", kernel.maple_node(kind, [(9, first), (25, full), (LAST, last), (0, 0xBAD2)]))
    assert values_in(kernel, in_maple_tree) == VALUES[:20]


@pytest.mark.parametrize(("read", "make"), [(in_xarray, "xa_node"), (in_maple_tree, "maple_node")])
def test_a_tree_that_comes_back_to_a_node_is_an_error(read, make):
    kernel = HostKernel()
    root = kernel.xa_node({}) if make == "xa_node" else kernel.maple_node(2, [])
    kernel.poke((root & ~0xFF) + 128 if make == "maple_node" else root - 2 + 16, kernel.pack("Q", root))
    kernel.add_tree("tree", root)
    with pytest.raises(Exception, match="comes back"):
        values_in(kernel, read)


@pytest.mark.parametrize("older", [False, True])
def test_every_interrupt_is_told_with_what_each_cpu_counted(older):
    kernel = HostKernel()
    first = kernel.interrupt(3, 4096, "XIVE\x1b", ["eth0", "shared"], (7, 9))
    unused = kernel.interrupt(4, 1, "XIVE", [], (0, 0))
    spurious = kernel.interrupt(5, 2, None, [], (0, 1))
    if older:
        kernel.add_tree("irq_desc_tree", kernel.xa_node({3: first, 4: unused, 5: spurious}))
    else:
        entries = [(2, 0), (3, first), (4, unused), (5, spurious), (LAST, 0)]
        kernel.add_tree("sparse_irqs", kernel.maple_node(1, entries))
    kernel.names["Dkstat"] = PER_CPU + 0x140
    kernel.poke(kernel.per_cpu[1] + 0x140 + 8 + 4, kernel.pack("I", 11))
    found = CrashedSystem(kernel.dump()).state.interrupts
    assert found.cpus == (0, 1) and found.left_out == ()
    assert found.interrupts == (
        Interrupt(3, 4096, "XIVE\x1b", ("eth0", "shared"), (7, 9)),
        Interrupt(5, 2, None, (), (0, 1)),
    )
    assert found.interrupts[0].total == 16 and ("TIMER", (0, 11)) in found.softirqs


def test_a_tree_nowhere_is_told():
    kernel = HostKernel()
    kernel.add_tree("sparse_irqs", 0xC000_0100_0000_000A)
    found = CrashedSystem(kernel.dump()).state.interrupts
    assert found.interrupts == () and "some interrupts can't be read" in found.left_out[0]
