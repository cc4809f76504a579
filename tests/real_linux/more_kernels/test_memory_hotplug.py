"""Linux 6.1 has to register again when memory has gone or come; what its dump is like if it hasn't."""

import pytest

from fadump.kit.kernel import build_kernel
from fadump.memory.ranges import RangeSet
from tests.real_linux.plugging import PLACE, PluggedScenario


@pytest.fixture(scope="module")
def crashes(tmp_path_factory):
    """Two in a row: the DIMM has gone, then it has come; nobody has registered since."""
    with PluggedScenario(tmp_path_factory.mktemp("hotplug"), build_kernel("6.1", "64K")) as scenario:
        scenario.hello()
        gone = scenario.crash_after("unplug")
        scenario.back_to_production()
        return gone, scenario.crash_after("plug")


def test_a_registration_is_not_told_of_memory(crashes):
    for crash in crashes:
        assert len(set(crash.files)) == 1
        assert "hotplug_ready" not in crash.files[0]


def test_memory_that_has_gone_is_read_as_zeros(crashes):
    memory = crashes[0].saved.verdict.memory
    assert not crashes[0].not_in_dump and memory.bytes_different
    assert RangeSet(memory.differences) - RangeSet([PLACE]) == RangeSet()


def test_memory_that_has_come_is_not_in_the_dump(crashes):
    assert crashes[1].not_in_dump and crashes[1].saved.verdict.memory.bytes_different == 0
