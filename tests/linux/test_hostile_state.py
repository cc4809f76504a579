"""Whatever stands in a kernel's structures, every answer about its state ends: with what can be read, or a sentence."""

import contextlib
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fadump.errors import FadumpError
from fadump.linux.system import CrashedSystem
from tests.linux.host_kernel import NODE_COUNTS
from tests.linux.kernel_builder import Log, Message
from tests.linux.state_kernel import MODULE_AT
from tests.linux.test_mounts import MountKernel
from tests.vmcore.dump_helpers import open_bytes

LAST = (1 << 64) - 1
ANSWERS = ("memory", "slab_caches", "mounts", "network", "interrupts")
LIMITS = st.sampled_from([0, 1, 2**16, 2**31, 2**32, 2**63, LAST]).flatmap(
    lambda limit: st.integers(max(0, limit - 5000), min(LAST, limit + 5000))
)
POINTERS = st.integers(0xC000_0000_0000_0000, 0xC000_0000_0020_0000)


class WholeKernel(MountKernel):
    """Everything that there is an answer about."""

    def __init__(self, byte_order="little"):
        super().__init__(byte_order)
        processes = [[{"pid": 7, "state": 2, "stack": (MODULE_AT + 0x10, MODULE_AT + 0x20), "mm": self.a_process()}]]
        self.link([self.names["Dinit_task"] + 32, *(self.add_process(threads) + 32 for threads in processes)])
        self.add_module("culprit", taints=1, version=b"1", build_id=bytes(20), symbols=[("first", 0, 1)])
        self.add_run_queues([1, 0], [7, None])
        self.add_memory(7, dict.fromkeys(NODE_COUNTS, 1), 1000, huge=[(5, 4, 3, 2, 1)])
        self.add_caches([("dentry", 192, 0, [(2, 20), (1, 10)])])
        lo = self.add_device("lo", index=1, four=[((127, 0, 0, 1), 8)], six=[(bytes(16), 128)], hardware=bytes(6))
        self.add_network([lo])
        irq = self.interrupt(3, 4096, "XIVE", ["eth0"], (7, 9))
        self.add_tree("sparse_irqs", self.maple_node(3, [(9, self.maple_node(1, [(3, irq), (LAST, 0)])), (LAST, 0)]))
        self.add("saved_command_line", "Q", self.text("fadump=on"))
        self.add("tainted_mask", "Q", 1)
        self.add("avenrun", "3Q", 1, 2, 3)
        Log(self, [Message(b"INFO: task a:1 blocked for more than 1 seconds.")])

    def a_process(self):
        return self.add_mm([2, 5, 100, 2], [[2, 0, 9, 0], [-1, 0, 9, -1]])


KERNELS = [WholeKernel(), WholeKernel("big")]
CORES = [kernel.core() for kernel in KERNELS]
which = pytest.mark.parametrize("kernel", range(len(KERNELS)), ids=["little", "big"])


def ask(core):
    """Every answer; those that there are."""
    answers = {}
    with CrashedSystem(open_bytes(core)) as system:
        for name in ("task_list", "stacks", "activity", "modules", "incidents"):
            with contextlib.suppress(FadumpError):
                answers[name] = getattr(system, name)
        for name in ANSWERS:
            with contextlib.suppress(FadumpError):
                answers[name] = getattr(system.state, name)
        with contextlib.suppress(FadumpError):
            answers["types"] = [system.module_types.of(module) for module in system.modules.modules]
        with contextlib.suppress(FadumpError):
            answers["symbol"] = system.symbol(MODULE_AT + 4)
    return answers


@which
def test_the_seeds_have_every_answer(kernel):
    answers = ask(CORES[kernel])
    assert {*ANSWERS, "task_list", "stacks", "activity", "modules", "incidents", "symbol"} <= answers.keys()
    assert answers["symbol"].module == "culprit" and answers["stacks"][0].is_blocked
    assert answers["activity"].unknown == () and not answers["task_list"].left_out


@which
@settings(max_examples=30)
@given(data=st.data())
def test_flipped_bits_and_numbers_near_limits_in_any_structure(kernel, data):
    core = bytearray(CORES[kernel])
    start = len(core) - len(KERNELS[kernel].memory)
    for _ in range(data.draw(st.integers(1, 4))):
        structure = data.draw(st.sampled_from(KERNELS[kernel].placed))
        size = data.draw(st.sampled_from([1, 4, 8]))
        at = start + (data.draw(st.integers(structure.start, structure.stop - 1)) & -size)
        value = data.draw(LIMITS | POINTERS) % (1 << 8 * size)
        core[at : at + size] = value.to_bytes(size, data.draw(st.sampled_from(["little", "big"])))
    ask(bytes(core))


@settings(max_examples=20)
@given(st.sampled_from(range(len(KERNELS))), st.data())
def test_a_number_asks_for_little_memory(kernel, data):
    core = bytearray(CORES[kernel])
    start = len(core) - len(KERNELS[kernel].memory)
    structure = data.draw(st.sampled_from(KERNELS[kernel].placed[-120:]))
    at = start + (data.draw(st.integers(structure.start, structure.stop - 1)) & -4)
    core[at : at + 4] = b"\xff" * 4
    tracemalloc.start()
    try:
        ask(bytes(core))
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()
