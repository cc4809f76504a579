"""Memory and CPUs that come and go before the crash: the dump has what was there at the crash, and no more."""

import json
import re
import subprocess

import pytest

from fadump.cli import main

GIB = 1 << 30
SMALL = ("--memory", "1G", "--verify")


@pytest.fixture
def run(tmp_path, capsys):
    """Run one cycle; returns its exit code, its JSON and what readelf says of its dump."""

    def run(*options):
        code = main(["run", "--json", "--out", str(tmp_path / "out"), *SMALL, *options])
        result = json.loads(capsys.readouterr().out)
        shown = subprocess.run(
            ["readelf", "-lnW", result["vmcore"]], capture_output=True, text=True, check=True, env={"LC_ALL": "C"}
        )
        assert result["verified"]["bytes_different"] == 0 and result["verified"]["registers_different"] == []
        return code, result, shown.stdout

    return run


def loaded(shown):
    """Physical addresses of the dump's memory, from and to."""
    segments = re.findall(r"LOAD +0x\w+ 0x\w+ 0x(\w+) 0x\w+ 0x(\w+)", shown)
    return [(int(start, 16), int(start, 16) + int(size, 16)) for start, size in segments]


@pytest.mark.parametrize("version", ["6.1", "6.12"])
def test_memory_that_has_come_is_in_the_dump_and_memory_that_has_gone_is_not(run, version):
    moves = ("--plug", "1G@4G", "--plug", "256M@8G", "--unplug", "1G@4G")
    code, result, shown = run("--kernel-version", version, *moves)
    assert code == 0 and [change.split()[0] for change in result["changes"]] == ["plug", "plug", "unplug"]
    assert (8 * GIB, 8 * GIB + GIB // 4) in loaded(shown)
    assert not [start for start, end in loaded(shown) if start < 5 * GIB and end > 4 * GIB]


@pytest.mark.parametrize(
    ("options", "cpus"),
    [
        (("--cpus", "3", "--plug", "cpu3", "--crash-cpu", "3"), 4),
        (("--cpus", "3", "--unplug", "cpu2"), 2),
        (("--cpus", "3", "--offline", "cpu0", "--crash-cpu", "1"), 2),
        (("--cpus", "4", "--offline", "cpu3", "--crash-by", "nmi"), 3),
        (("--cpus", "4", "--offline", "cpu0", "--crash-by", "platform"), 3),
        (("--cpus", "8", "--smt", "4", "--offline", "cpu5", "--unplug", "cpu4", "--plug", "cpu4"), 8),
        (("--platform", "powernv", "--memory", "4G", "--cpus", "4", "--offline", "cpu2"), 4),
    ],
)
def test_the_dump_has_the_registers_of_the_cpus_that_were_online_and_with_opal_of_all(run, options, cpus):
    code, result, shown = run(*options)
    assert (code, result["cpus"], shown.count("NT_PRSTATUS")) == (0, cpus, cpus)


def test_what_has_changed_stays_so_and_an_offline_cpu_is_back_after_the_reset(run):
    moves = ("--plug", "256M@4G", "--plug", "cpu2", "--offline", "cpu1")
    code, result, shown = run("--cycles", "2", *moves)
    first, second = result["cycles"]
    assert (code, first["cpus"], second["cpus"], second["changes"]) == (0, 2, 3, [])
    assert (4 * GIB, 4 * GIB + GIB // 4) in loaded(shown) and shown.count("NT_PRSTATUS") == 3


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--unplug 1G@4G", "--unplug 1G@0x100000000: there is no such DIMM, nor any other"),
        ("--plug 1G@8G --unplug 1G@4G", "--unplug 1G@0x100000000: there is no such DIMM, but 1G@0x200000000"),
        ("--plug 1G@8G --unplug 1G@8G --unplug 1G@8G", "there is no such DIMM, nor any other"),
        ("--dimm 1G@4G --unplug 1G@4G", "the model of Linux keeps memory that was there at its boot"),
        ("--plug 256M@768M", "--plug 256M@0x30000000: there is memory already"),
        ("--plug 1G@4G --plug 256M@4G", "--plug 256M@0x100000000: there is memory already"),
        ("--plug 100M@4G", "give multiples of 256 MiB"),
        ("--plug 1K@4G", "--plug 1K@0x100000000: give multiples of 256 MiB"),
        ("--plug 0@4G", "give multiples of 256 MiB"),
        ("--plug 1G@64T", "--plug takes memory that ends below 64 TiB"),
        ("--machine qemu --plug 256G@4G", "--plug must leave the guest with 256 GiB at most, 258 GiB are more"),
        ("--plug cpu3", "--plug cpu3: there are cpu0 to cpu1, so the next core begins with cpu2"),
        ("--plug cpu1", "the next core begins with cpu2"),
        ("--cpus 4 --smt 4 --plug cpu4 --max-cpus 4", "the machine has room for 4 CPUs: give more --max-cpus"),
        ("--machine qemu --cpus 32 --plug cpu32", "the machine has room for 32 CPUs"),
        ("--unplug cpu0", "--unplug cpu0: there are cpu0 to cpu1; the last core begins with cpu1"),
        ("--cpus 1 --unplug cpu0", "there are cpu0; only the one core that Linux runs on"),
        ("--offline cpu0 --unplug cpu1", "--unplug cpu1: no other CPU is online"),
        ("--offline cpu2", "--offline cpu2: there are cpu0 to cpu1"),
        ("--offline cpu1 --offline cpu1", "--offline cpu1: there are cpu0 to cpu1, cpu1 offline"),
        ("--cpus 1 --offline cpu0", "--offline cpu0: it is the last CPU that is online"),
        ("--offline cpu0", "--crash-cpu 0 is not online by then: name another"),
        ("--plug cpu2 --crash-cpu 3", "--crash-cpu must be a CPU of the guest, 0 to 2, 3 is not"),
        ("--platform powernv --plug cpu2", "--plug goes with --platform pseries: powernv has no hotplug"),
        ("--platform powernv --unplug 1G@4G", "--unplug goes with --platform pseries: powernv has no hotplug"),
        ("--plug cpu", "--plug cpu: write it as 1G@4G or cpu2"),
        ("--plug 4G", "--plug 4G: write it as 1G@4G or cpu2"),
        ("--unplug cpu٣", "write it as 1G@4G or cpu2"),
        ("--offline 1G@4G", "--offline 1G@4G: write it as cpu2"),
    ],
)
def test_what_cannot_be_is_one_sentence_before_anything_starts(tmp_path, capsys, options, said):
    assert main(["run", "--json", "--out", str(tmp_path / "out"), *options.split()]) == 2
    told = capsys.readouterr()
    assert said in json.loads(told.out)["error"] and told.err.count("\n") == 1
    assert not (tmp_path / "out").exists()
