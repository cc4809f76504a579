"""The model reproduces every reservation that was seen on real kernels: tests/kernel/observed.py."""

import pytest

from fadump.kernel.plan.plan import make_plan
from tests.kernel.observed import OBSERVED
from tests.kernel.said import capture_kernel_says, first_kernel_says, registered


@pytest.mark.parametrize("seen", OBSERVED, ids=lambda seen: seen.options)
def test_what_linux_said_is_what_the_plan_says(seen):
    plan = make_plan(seen.system, seen.kernel, seen.cmdline)
    assert first_kernel_says(plan) == list(seen.first_kernel)
    assert capture_kernel_says(plan) == list(seen.capture_kernel)


@pytest.mark.parametrize("seen", OBSERVED, ids=lambda seen: seen.options)
def test_what_linux_registered_is_what_the_plan_registers(seen):
    plan = make_plan(seen.system, seen.kernel, seen.cmdline)
    assert registered(plan) == list(seen.sections)


def test_what_was_seen_differs_in_what_matters():
    assert len({(seen.first_kernel, seen.sections) for seen in OBSERVED}) == len(OBSERVED)
    assert {seen.kernel.page_bytes for seen in OBSERVED} == {0x1000, 0x10000}
    assert len({(seen.system.platform, seen.system.mmu) for seen in OBSERVED}) == 3
    assert {seen.release.split(".")[1] for seen in OBSERVED} == {"1", "12", "2"}
