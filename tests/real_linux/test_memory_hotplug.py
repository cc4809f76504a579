"""Memory that goes and comes while a registration stands; tests/machine/embedded has the same for the model."""

import pytest

from tests.real_linux.plugging import PluggedScenario


@pytest.fixture(scope="module")
def crashes(tmp_path_factory, kernel):
    """Two in a row: the DIMM has gone and come, then it has gone."""
    with PluggedScenario(tmp_path_factory.mktemp("hotplug"), kernel) as scenario:
        scenario.hello()
        first = scenario.crash_after("unplug", "plug")
        scenario.back_to_production()
        return first, scenario.crash_after("unplug")


def test_a_registration_is_not_told_of_memory(crashes):
    for crash in crashes:
        assert len(set(crash.files)) == 1
        assert "hotplug_ready" in crash.files[0]


def test_the_dump_has_the_memory_of_the_crash(crashes):
    come, gone = crashes
    assert come.saved.verdict.same and not come.not_in_dump
    assert gone.saved.verdict.same and gone.not_in_dump
