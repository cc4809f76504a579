"""The dump that is for two machines at once; how fast anything is, no test asks."""

import subprocess
from collections import Counter

import numpy as np
import pytest

from benchmarks.peers import Took, _row
from benchmarks.report import MIB
from benchmarks.truth import KERNEL_BYTES, PAGE, STRUCT, fill_elf, write_elf
from benchmarks.twin import EM_X86_64, make_twin, set_machine
from fadump.capture.packers import Compression
from fadump.linux.pages.page_class import PageClass
from fadump.linux.system import open_system
from tests.linux.kernel_builder import PAGE_OFFSET, VMEMMAP_START


@pytest.fixture(scope="module")
def truth():
    return make_twin(128 * MIB)


@pytest.fixture(scope="module")
def core(truth, tmp_path_factory):
    path = tmp_path_factory.mktemp("twin") / "vmcore"
    write_elf(truth, path)
    fill_elf(truth, path, b"\1" * PAGE + b"\2" * PAGE)
    return path


def x86_physical(kernel, virtual):
    """Where x86-64 with 5 levels finds an address."""
    entry = int(kernel.facts["SYMBOL(init_top_pgt)"], 16) - 0xFFFF_FFFF_8000_0000
    for shift in (48, 39, 30, 21, 12):
        table = entry & 0x000F_FFFF_FFFF_F000
        index = virtual >> shift & 511
        entry = int.from_bytes(kernel.memory[table + 8 * index : table + 8 * index + 8], "little")
        assert entry & 1, f"nothing is mapped at {virtual:#x}"
        if entry & 0x80:
            break
    below = (1 << shift) - 1
    return (entry & 0x000F_FFFF_FFFF_F000 & ~below) | virtual & below


def test_x86_64_has_the_same_memory_at_the_same_addresses(truth):
    for physical in (0, 0x1234, truth.size_bytes - 1):
        assert x86_physical(truth.kernel, PAGE_OFFSET + physical) == physical
    for struct in (0, STRUCT, truth.pages * STRUCT - 1):
        assert x86_physical(truth.kernel, VMEMMAP_START + struct) == KERNEL_BYTES + struct


def test_the_twin_is_of_ppc64_and_its_classes_are_known(truth, core):
    with open_system(core) as system:
        counted = system.page_classes.count(system.dump.memory)
    wanted = Counter(truth.classes().tolist())
    assert {kind: count for kind, count in counted.items() if count} == {
        PageClass(kind): n for kind, n in wanted.items()
    }


def test_one_field_is_all_that_differs_between_the_machines(core):
    before = np.fromfile(core, np.uint8)
    set_machine(core, EM_X86_64)
    shown = subprocess.run(["readelf", "--file-header", str(core)], capture_output=True, text=True, check=True).stdout
    assert "X86-64" in shown and "CORE" in shown
    assert np.flatnonzero(before != np.fromfile(core, np.uint8)).tolist() == [18]
    set_machine(core, 21)
    assert np.array_equal(before, np.fromfile(core, np.uint8))


def test_a_row_has_medians_and_the_median_of_the_ratios():
    ours = [Took(wall, cpu, MIB, "") for wall, cpu in ((2.0, 1.0), (9.0, 3.0), (4.0, 2.0))]
    theirs = [Took(wall, cpu, MIB, "") for wall, cpu in ((1.0, 4.0), (3.0, 4.0), (4.0, 4.0))]
    row = _row(1, Compression.LZO, 1, ours, theirs)
    assert (row["CPU s"], row["wall s"], row["CPU ratio"], row["wall ratio"]) == (2.0, 4.0, 0.5, 2.0)
    assert _row(1, Compression.SNAPPY, 1, ours, [])["CPU ratio"] == "-"
