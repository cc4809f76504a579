"""The benchmarks of reports and BTF run on small input; how fast anything is, no test asks."""

from collections import Counter

import pytest

import fadump
from benchmarks import btf, reports
from benchmarks.report import MIB
from benchmarks.tasks import make_tasked_truth
from benchmarks.truth import write_elf
from fadump.linux.types.btf import Btf
from tests.linux.task_kernel import TASK_BYTES, task_types


@pytest.fixture(scope="module")
def truth():
    return make_tasked_truth(64 * MIB, 40, symbols=100)


def test_the_tasks_of_a_truth_are_in_its_core(truth, tmp_path):
    write_elf(truth, tmp_path / "core")
    with fadump.open(tmp_path / "core") as system:
        assert [task.pid for task in system.tasks] == [*range(1, 41)]
        assert Counter(task.is_kernel_thread for task in system.tasks) == {True: 20, False: 20}
        blocked = [group for group in system.stacks if group.is_blocked]
        assert [[task.pid for task in group.tasks] for group in blocked] == [[10], [20], [30], [40]]
        assert [len(group.backtrace.frames) for group in blocked] == [8] * 4
        assert {cpu.number for cpu in system.cpus} == {0, 1}


@pytest.mark.parametrize("kind", reports.KINDS)
def test_reports_are_measured_and_their_files_go(truth, tmp_path, kind):
    rows = reports.report_rows(truth, tmp_path, kind, 40, 1)
    assert [row["command"] for row in rows][:3] == ["report", "report, page", "show"]
    assert all(row["CPU s"] > 0 and row["RssAnon MiB"] > 5 for row in rows)
    assert not list(tmp_path.iterdir())


def test_other_tasks_are_no_measurement(truth, tmp_path):
    with pytest.raises(ValueError, match="not the kernel's"):
        reports.report_rows(truth, tmp_path, "elf", 41, 1)


def test_a_larger_table_has_the_same_types_again():
    data = task_types()
    larger = btf.enlarged(data, 10 * len(data))
    assert len(larger) >= 10 * len(data)
    first, again = Btf(data), Btf(larger)
    ref = first.find("task_struct")
    assert again.find("task_struct") == ref and again.members(ref) == first.members(ref)
    assert again.resolve(first.end - 1 + ref).size_bytes == TASK_BYTES


def test_btf_is_measured_beside_pahole(tmp_path):
    row = btf.btf_row(task_types(), tmp_path, 1)
    assert row["CPU s"] > 0 and row["pahole CPU s"] > 0 and not list(tmp_path.iterdir())
