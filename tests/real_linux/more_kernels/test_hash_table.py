"""The hash page table of real Linux: what debugfs shows of it, on every kernel, and a spoilt one that is found."""

import re

import pytest

from fadump.kit.kernel import build_kernel
from tests.real_linux.fadump_command import fadump_run
from tests.real_linux.scenario import Scenario

REGION = "mount -t debugfs debugfs /sys/kernel/debug 2>/dev/null; cat /sys/kernel/debug/powerpc/fadump_region"
SAME = {"bytes_compared": 0x1000, "bytes_different": 0, "not_compared": None}


def table_line(scenario):
    (line,) = re.findall(r"^HPTE:\[.*", scenario.run(REGION), re.MULTILINE)
    return line.rstrip()


@pytest.mark.parametrize("version", ["6.1", "6.12", "7.2"])
@pytest.mark.parametrize(
    ("machine", "cmdline"),
    [({"cpu_model": "POWER8"}, ""), ({"cpu_model": "POWER9"}, "disable_radix")],
    ids=["POWER8", "POWER9, disable_radix"],
)
def test_debugfs_says_that_4_kib_were_dumped(tmp_path, version, machine, cmdline):
    with Scenario(tmp_path, build_kernel(version), cmdline, **machine) as scenario:
        assert scenario.hello().enabled
        scenario.register()
        assert table_line(scenario).endswith(" 0x1000 bytes, Dumped: 0x0")
        assert scenario.crash().is_capture
        assert table_line(scenario).endswith(" 0x1000 bytes, Dumped: 0x1000")
        assert scenario.save().verdict.same
        scenario.back_to_production()
        assert table_line(scenario).endswith(" 0x1000 bytes, Dumped: 0x0")


def test_it_is_whole_though_the_platform_has_ended_a_guest_that_idles(tmp_path):
    options = ["--cpu-model", "POWER8", "--crash-by", "platform", "--hpte-size", "16M"]
    done = fadump_run(tmp_path / "out", "--verify", *options)
    assert done.status == 0, done.stderr
    assert done.json["verified"]["hash_table"] == SAME | {"bytes_compared": 16 << 20}


def test_a_spoilt_one_is_found(tmp_path):
    fault = ["--hpte-size", "1M", "--fault", "hpte=shifted"]  # the first 4 KiB may have no valid entry
    done = fadump_run(tmp_path / "out", "--verify", "--cpu-model", "POWER8", *fault)
    assert done.status == 1
    assert done.json["verified"]["bytes_different"] == 0
    assert done.json["verified"]["hash_table"]["bytes_different"] > 0


def test_sizes_and_reserved_memory_are_what_a_prototype_wants(tmp_path):
    offer = ["--hpte-size", "64K", "--cpu-state-size", "1M", "--reserved", "1G..1025M"]
    done = fadump_run(tmp_path / "out", "--verify", *offer)
    assert done.status == 0, done.stderr
    preserved = re.findall(r"preserved type (0x[12]): (0x\w+) of", done.file("firmware.log"))
    assert preserved == [("0x1", hex(1 << 20)), ("0x2", hex(64 << 10))]
    assert done.json["verified"]["hash_table"] == SAME | {"bytes_compared": 64 << 10}
