"""Linux 5.10, as Debian 11 had it: much of what newer ones state in VMCOREINFO has to be found in another way.

Its makedumpfile is the oldest that Debian still has for ppc64el.
"""

from itertools import product
from pathlib import Path

import pytest
from drgn.helpers.linux.pid import for_each_task
from drgn.helpers.linux.printk import get_printk_records

from fadump.capture.options import SaveOptions
from fadump.capture.packers import Compression
from fadump.kit.kernel import PAGE_SIZES, build_kernel
from fadump.kit.kernel_config import read_fragment
from fadump.linux.pages.page_class import DumpLevel
from fadump.linux.system import open_system
from fadump.vmcore.dump import open_dump
from tests.capture.saving import save_file
from tests.real_linux.foreign import ForeignProgram
from tests.real_linux.page_sets import compare_page_sets, compared, crash_under_load
from tests.real_linux.page_truth import differing_from_drgn, read_by_drgn

SERIES = "5.10"
FRAGMENT = Path(__file__).parent / "older.config"
NOT_STATED = ("NUMBER(RADIX_MMU)", "OFFSET(uts_namespace.name)", "SYMBOL(vmemmap)", "SYMBOL(kallsyms_names)")


@pytest.fixture(scope="module", params=product(PAGE_SIZES, ("POWER8", "POWER9")), ids="-".join)
def crash(request, tmp_path_factory):
    """The kernel and its dump, with each page size, by hash and by radix."""
    page_size, cpu_model = request.param
    kernel = build_kernel(SERIES, page_size, read_fragment(FRAGMENT))
    return kernel, crash_under_load(tmp_path_factory.mktemp("crash"), kernel, cpu_model=cpu_model)


def test_every_dump_level_leaves_out_what_makedumpfile_leaves_out(tmp_path, crash):
    _kernel, vmcore = crash
    makedumpfile = ForeignProgram("makedumpfile", tmp_path, ["bookworm"])
    _counts, differing = compare_page_sets(vmcore, makedumpfile, tmp_path / "out")
    assert differing == {}


def test_every_page_is_of_the_class_that_drgn_finds(crash):
    kernel, vmcore = crash
    assert differing_from_drgn(vmcore, kernel.vmlinux) == []


def test_a_saved_dump_of_level_0_has_every_byte(tmp_path, crash):
    _kernel, vmcore = crash
    with open_dump(vmcore) as original:
        options = SaveOptions(levels=(DumpLevel(0),), compression=Compression.LZO, registers=False)
        save_file(original, tmp_path / "saved", options)
        with open_dump(tmp_path / "saved") as saved:
            assert compared(saved, original) == sum(piece.size_bytes for piece in original.memory)


def test_its_symbols_are_found_without_its_vmlinux(crash):
    kernel, vmcore = crash
    program = read_by_drgn(vmcore, kernel.vmlinux)
    with open_system(vmcore) as system:
        ours = {(symbol.name, symbol.address) for symbol in system.symbols}
        stack = [frame.symbol.name for frame in system.crashed_cpu.backtrace.frames if frame.symbol]
    assert len(ours) > 10_000
    assert not ours - {(symbol.name, symbol.address) for symbol in program.symbols()}
    assert {"crash_fadump", "panic", "sysrq_handle_crash"} <= {*stack}


def test_log_name_and_tasks_are_what_drgn_reads(crash):
    kernel, vmcore = crash
    program = read_by_drgn(vmcore, kernel.vmlinux)
    with open_system(vmcore, vmlinux=kernel.vmlinux) as system:
        assert not {*NOT_STATED} & {*system.vmcoreinfo.values}
        assert system.kernel.release == kernel.release
        ours = [(line.sequence, line.timestamp_ns, line.facility, line.level, line.text) for line in system.log()]
        assert ours == [
            (line.seq, line.timestamp, line.facility, line.level, line.text.decode())
            for line in get_printk_records(program)
        ]
        assert system.ending.panic == "sysrq triggered crash"
        assert system.crashed_cpu.number == program["crashing_cpu"].value_() == 0
        assert sorted((task.pid, task.name) for task in system.tasks) == sorted(
            (task.pid.value_(), task.comm.string_().decode()) for task in for_each_task(program)
        )
