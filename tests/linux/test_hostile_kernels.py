"""Whatever stands in a crashed kernel's memory, reading all of it ends: with what can be read, or with sentences."""

import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fadump.linux.summary import summarize
from fadump.linux.system import CrashedSystem
from tests.fuzzing import fuzz
from tests.linux.fuzz import exercise, kernels, patched
from tests.vmcore.dump_helpers import open_bytes

KERNELS = kernels()
CORES = [kernel.core() for kernel in KERNELS]

which = pytest.mark.parametrize("kernel", range(len(KERNELS)), ids=["little, radix", "big, radix", "hash, old log"])
limits = st.sampled_from([0, 1, 2**16, 2**31, 2**32, 2**33, 2**63 - 1, 2**63, 2**64 - 1]).flatmap(
    lambda limit: st.integers(max(0, limit - 5000), min(2**64 - 1, limit + 5000))
)


def memory_offset(kernel):
    return len(CORES[kernel]) - len(KERNELS[kernel].memory)


@which
def test_the_seeds_say_everything(kernel):
    with CrashedSystem(open_bytes(CORES[kernel])) as system:
        summary = summarize(system)
        assert not summary.missing
        assert summary.cpus and summary.page_counts and summary.ending.panic and len(system.symbols)


@which
def test_a_dump_cut_at_the_ends_of_each_structure(kernel):
    cuts = {0, 1, 64, memory_offset(kernel)}
    for structure in KERNELS[kernel].placed:
        cuts |= {memory_offset(kernel) + at for at in (structure.start, structure.stop - 1, structure.stop)}
    for cut in sorted(cuts):
        exercise(CORES[kernel][:cut])
    with CrashedSystem(open_bytes(CORES[kernel][: memory_offset(kernel) + 1])) as system:
        assert summarize(system).missing


@which
@given(data=st.data())
def test_flipped_bits_in_any_structure(kernel, data):
    core = bytearray(CORES[kernel])
    for _ in range(data.draw(st.integers(1, 4))):
        structure = data.draw(st.sampled_from(KERNELS[kernel].placed))
        at = memory_offset(kernel) + data.draw(st.integers(structure.start, structure.stop - 1))
        core[at] ^= 1 << data.draw(st.integers(0, 7))
    exercise(bytes(core))


@which
@given(data=st.data())
def test_numbers_near_limits_in_any_structure(kernel, data):
    core = bytearray(CORES[kernel])
    for _ in range(data.draw(st.integers(1, 3))):
        structure = data.draw(st.sampled_from(KERNELS[kernel].placed))
        size_bytes = data.draw(st.sampled_from([2, 4, 8]))
        at = memory_offset(kernel) + (data.draw(st.integers(structure.start, structure.stop - 1)) & -size_bytes)
        value = data.draw(limits) % (1 << 8 * size_bytes)
        core[at : at + size_bytes] = value.to_bytes(size_bytes, data.draw(st.sampled_from(["little", "big"])))
    exercise(bytes(core))


@settings(max_examples=300)
@given(st.sampled_from(range(len(KERNELS))), st.data())
def test_any_fact_may_be_any_number(kernel, data):
    """In little memory, too: what a number asks for must be there before anything is set aside for it."""
    facts = dict(KERNELS[kernel].facts)
    for name in data.draw(st.lists(st.sampled_from(sorted(facts)), min_size=1, max_size=2)):
        value = data.draw(limits | st.integers(-2, 70))
        facts[name] = f"{value:x}" if name.startswith("SYMBOL") else str(value)
    tracemalloc.start()
    try:
        exercise(with_facts(KERNELS[kernel], facts))
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


def with_facts(kernel, facts):
    own = kernel.facts
    kernel.facts = facts
    try:
        return kernel.core()
    finally:
        kernel.facts = own


@given(st.sampled_from(CORES), st.binary(max_size=100))
def test_changes_anywhere(core, patches):
    exercise(patched(core, patches))


def test_a_fuzzer_finds_nothing_in_a_few_hundred_kernels(tmp_path):
    fuzz("tests.linux.fuzz_atheris", runs=300, longest=500, artifacts=tmp_path)
