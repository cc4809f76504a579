"""Whatever stands in a crashed kernel's memory, its dump is saved: what can't be known is left out, or said."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fadump.capture.dmesg import save_dmesg
from fadump.capture.files import HOST
from fadump.capture.options import Format, SaveOptions
from fadump.capture.original import read_original
from fadump.linux.pages.page_class import DumpLevel
from fadump.linux.system import CrashedSystem
from tests.linux.test_hostile_kernels import CORES, KERNELS, limits, memory_offset, which, with_facts
from tests.vmcore.dump_helpers import open_bytes


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return tmp_path_factory.mktemp("log") / "log"


def save_all_but_pages(core, log):
    """All of a save that looks into the kernel."""
    for format_ in Format:
        with open_bytes(core) as dump:
            system = CrashedSystem(dump)
            original = read_original(system, SaveOptions(format=format_))
            assert original.select(DumpLevel(31)).memory.count()
            save_dmesg(system, log, HOST)


@which
@given(data=st.data())
def test_flipped_bits_in_any_structure(kernel, data, log):
    core = bytearray(CORES[kernel])
    for _ in range(data.draw(st.integers(1, 4))):
        structure = data.draw(st.sampled_from(KERNELS[kernel].placed))
        at = memory_offset(kernel) + data.draw(st.integers(structure.start, structure.stop - 1))
        core[at] ^= 1 << data.draw(st.integers(0, 7))
    save_all_but_pages(bytes(core), log)


@settings(max_examples=100)
@given(st.sampled_from(range(len(KERNELS))), st.data())
def test_any_fact_may_be_missing_or_any_number(log, kernel, data):
    facts = dict(KERNELS[kernel].facts)
    others = sorted(facts.keys() - {"PAGESIZE"})
    for name in data.draw(st.lists(st.sampled_from(others), min_size=1, max_size=2, unique=True)):
        value = data.draw(st.none() | limits | st.integers(-2, 70))
        if value is None:
            del facts[name]
        else:
            facts[name] = f"{value:x}" if name.startswith("SYMBOL") else str(value)
    save_all_but_pages(with_facts(KERNELS[kernel], facts), log)
