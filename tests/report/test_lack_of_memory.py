"""Who is to blame where memory was used up: whatever has the most of it."""

from dataclasses import replace

import pytest

from fadump.linux.state.memory_use import HugePages, MemoryUse
from fadump.linux.state.slab_caches import SlabCache
from fadump.report.verdict import Certainty, judge
from tests.report.stories import findings_of, kernel_that_said

MIB = 1 << 20
TOTAL = 1024
CALM = {"free": 10, "cache": 40, "shared": 5, "anonymous": 40, "slab": 30, "slab_reclaimable": 10}
CALM |= {"page_tables": 2, "kernel_stacks": 2}
NAMES = ("dirty", "writeback", "mapped", "reclaimable", "swap_total", "swap_free")
SAID = (
    "sh invoked oom-killer: gfp_mask=0x1, order=0",
    "Kernel panic - not syncing: Out of memory: panic_on_oom is enabled",
)


def use_of(huge=0, **mib):
    sizes = {name: value * MIB for name, value in (CALM | mib).items()}
    pools = (HugePages(2 * MIB, huge // 2, 0, 0, 0),)
    return MemoryUse(total=TOTAL * MIB, huge=pools, unknown=(), **dict.fromkeys(NAMES, 0), **sizes)


def verdict(use):
    findings = findings_of(kernel_that_said(*SAID))
    return judge(replace(findings, memory_use=use, slab_caches=(SlabCache("leaky-1k", 1024, 1, 1, 900 * MIB),)))


@pytest.mark.parametrize(
    ("mib", "blame"),
    [
        ({"cache": 900, "shared": 880}, "files in tmpfs, or shared memory"),
        ({"huge": 900}, "the number of huge pages that is set"),
        ({"slab": 900}, "the kernel's slab cache leaky-1k, the largest"),
        ({}, "the kernel itself, or a driver"),
        ({"anonymous": 20, "free": 60, "cache": 880, "shared": 300}, "files in tmpfs, or shared memory"),
    ],
)
def test_what_has_the_most_is_to_blame(mib, blame):
    found = verdict(use_of(**mib))
    assert (found.what, found.blame) == ("The system ran out of memory", blame)
    assert found.certainty is Certainty.UNSURE and "of 1,024 MiB, more than anything else" in found.because[-1]


def test_what_can_be_reclaimed_is_not_what_used_memory_up():
    assert (
        verdict(use_of(slab=900, slab_reclaimable=890, anonymous=50)).blame
        != "the kernel's slab cache leaky-1k, the largest"
    )


def test_without_any_count_nobody_is_blamed():
    found = judge(replace(findings_of(kernel_that_said(*SAID)), memory_use=None))
    assert found.blame is None and found.certainty is Certainty.UNKNOWN
