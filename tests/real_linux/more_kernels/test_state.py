"""Tasks, stacks, modules and the rest of the state of kernels old and new, as drgn reads them. `make test-kernels`."""

from itertools import product
from pathlib import Path

import pytest

import fadump
from fadump.kit.kernel import NEWEST_SERIES, PAGE_SIZES, build_kernel, newest_series
from fadump.kit.kernel_config import read_fragment
from tests.real_linux import state_truth as truth
from tests.real_linux.page_sets import WORKLOAD, crash_under_load
from tests.real_linux.page_truth import read_by_drgn
from tests.real_linux.task_truth import all_by_drgn, all_of, differing_stacks

OLDER = "5.10"
"""This one has no BTF, no network and no modules: it is read with its vmlinux."""
FRAGMENT = Path(__file__).parent / "older.config"


@pytest.fixture(scope="module", params=product([OLDER, "6.1", "6.12", NEWEST_SERIES], PAGE_SIZES), ids="-".join)
def crash(request, tmp_path_factory):
    """A kernel, and its dump by us and by drgn."""
    series, page_size = request.param
    options = {"options": read_fragment(FRAGMENT)} if series == OLDER else {}
    kernel = build_kernel(newest_series() if series == NEWEST_SERIES else series, page_size, **options)
    modules = truth.module_files(kernel).values()
    script = WORKLOAD + truth.EVERY_STATE
    vmcore = crash_under_load(tmp_path_factory.mktemp("crash"), kernel, script, crash_cpu=2, cpus=4, modules=modules)
    with fadump.open(vmcore, vmlinux=kernel.vmlinux if series == OLDER else None) as system:
        yield kernel, system, read_by_drgn(vmcore, kernel.vmlinux)


def test_every_task_and_every_stack_is_the_same(crash):
    _kernel, system, program = crash
    assert sorted(map(all_of, system.tasks)) == sorted(all_by_drgn(program))
    compared, differing = differing_stacks(system, program)
    assert compared > 40 and differing == {} and not system.task_list.left_out
    assert [task.name for task in system.stacks[0].tasks] == ["touch", "touch"]
    assert system.stacks[0].waits_for == "a file system that is frozen"


def test_modules_are_the_same(crash):
    kernel, system, program = crash
    files = truth.module_files(kernel)
    assert truth.check_modules(system, program, files) == len(files)
    if files:
        assert truth.check_module_symbols(system, program, files) > 1000
        assert truth.check_module_types(system, files, kernel.vmlinux) > 50


def test_the_rest_of_the_state_is_the_same(crash):
    kernel, system, program = crash
    assert truth.check_mounts(system, program) >= 7 and truth.check_interrupts(system, program) > 5
    truth.check_memory(system, program)
    truth.check_activity(system, program)
    if kernel.series != OLDER:
        assert truth.check_slab_caches(system, program) > 100
        assert "10.1.2.3" in [str(address) for address in truth.check_network(system, program)["lo"]]
