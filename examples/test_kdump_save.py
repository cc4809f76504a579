"""A capture script of one's own, kdump-save.sh, where /proc and /sys are those of a machine that crashes."""

from pathlib import Path

import pytest

import fadump

SCRIPT = Path(__file__).with_name("kdump-save.sh")


@pytest.mark.parametrize("platform", ["pseries", "powernv"])
def test_the_dump_is_saved_and_its_memory_released(fadump_shell, tmp_path, platform):
    fadump_shell(
        f"""
        echo c >/proc/sysrq-trigger
        {SCRIPT} {tmp_path}
        test ! -e /proc/vmcore
        """,
        platform=platform,
    )
    with fadump.open(tmp_path / "vmcore") as system:
        assert system.ending.panic == "sysrq triggered crash"


def test_without_a_crash_nothing_is_saved(fadump_shell, tmp_path):
    fadump_shell(f"{SCRIPT} {tmp_path}")
    assert not (tmp_path / "vmcore").exists()
