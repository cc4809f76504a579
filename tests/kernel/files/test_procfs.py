"""What /proc says of memory, in each boot; tests/real_linux/test_files.py holds the other files against real Linux."""

import pytest

from fadump.machine.channel import Crash, Crashing, Hello, Release, Released
from fadump.memory.ranges import Range
from tests.machine.embedded.bench import bench

OBSERVED = {
    "fadump=on": (1014976, 294912, 688064),
    "fadump=on fadump=nocma": (687296, 294912, 688064),
}
"""MemTotal of Linux 6.12.117 on pseries with 1 GiB: in the first boot, in the capture boot, after the release."""
GIB = 1 << 30


def meminfo(guest):
    """Numbers of KiB by name."""
    lines = guest.machine.files()["/proc/meminfo"].show().decode().splitlines()
    assert [line[16:].split()[1] for line in lines] == ["kB"] * len(lines)
    return {line.split(":")[0]: int(line[16:].split()[0]) for line in lines}


@pytest.mark.parametrize("cmdline", OBSERVED)
def test_memory_is_as_much_as_real_linux_has(cmdline):
    with bench(cmdline=cmdline) as guest:
        guest.to_registered()
        seen = [meminfo(guest)]
        guest.ask(Crash(0), Crashing)
        guest.until(Hello)
        seen.append(meminfo(guest))
        guest.ask(Release(), Released)
        seen.append(meminfo(guest))
    assert [meminfo["MemTotal"] for meminfo in seen] == [pytest.approx(total, rel=0.005) for total in OBSERVED[cmdline]]
    assert all(meminfo["CmaTotal"] < meminfo["MemFree"] < meminfo["MemTotal"] for meminfo in seen)
    assert seen[1]["MemFree"] < seen[2]["MemFree"]


def test_what_is_lent_until_a_crash_is_memory_too():
    with bench() as lent, bench(cmdline="fadump=on fadump=nocma") as kept:
        for guest in (lent, kept):
            guest.to_registered()
        with_it, without = meminfo(lent), meminfo(kept)
    assert (with_it["CmaTotal"], with_it["CmaFree"], without["CmaTotal"]) == (320 << 10, 320 << 10, 0)
    for name in ("MemTotal", "MemFree"):
        assert with_it[name] - without[name] == 320 << 10


def test_memory_that_comes_is_in_the_total():
    piece = Range(GIB, 2 * GIB)
    with bench() as guest:
        guest.to_registered()
        before = meminfo(guest)
        guest.machine.plug_memory(piece)
        assert meminfo(guest)["MemTotal"] - before["MemTotal"] == GIB >> 10
        guest.machine.unplug_memory(piece)
        assert meminfo(guest) == before


def test_the_release_is_in_the_log_and_in_version():
    with bench() as guest:
        guest.to_registered()
        assert guest.machine.files()["/proc/version"].show().startswith(b"Linux version 6.12.0-model (")
