"""The main job: a real Linux kernel takes a firmware-assisted dump with our firmware."""

import json
import re
import subprocess

from tests.real_linux.fadump_command import fadump_run

MIB = 1 << 20
EVENTS = [
    "power_on",
    "registered",
    "crash",
    "preserved",
    "capture_boot",
    "vmcore_ready",
    "saved",
    "released",
    "production",
]


def test_the_whole_cycle_ends_in_production_after_one_reset(any_cycle):
    result = any_cycle.json
    assert (result["result"], result["machine"]) == ("saved", "qemu")
    assert [entry["event"] for entry in result["timeline"]] == EVENTS
    times = [entry["at_seconds"] for entry in result["timeline"]]
    assert times == sorted(times)
    assert (result["reboots"], result["cpus"]) == (1, 2)


def test_sizes_are_those_of_the_command_line(cycle):
    result = cycle.json
    assert result["platform"] == "pseries"
    assert result["boot_memory_bytes"] == 512 * MIB
    assert 512 * MIB < result["reserved_bytes"] < 513 * MIB
    assert 1500 * MIB < result["vmcore_bytes"] < 1600 * MIB
    # All RAM but boot memory, which the capture kernel has had, and the area for the next dump, reserved again.
    assert 1020 * MIB < result["memory_released"] < 1028 * MIB


def test_powernvs_sizes_are_linuxs_least(powernv_cycle):
    result = powernv_cycle.json
    assert result["platform"] == "powernv"
    assert result["boot_memory_bytes"] == 768 * MIB
    assert 768 * MIB < result["reserved_bytes"] < 769 * MIB
    assert 3300 * MIB < result["vmcore_bytes"] < 3400 * MIB


def test_files_are_private_and_nothing_else_is_left(any_cycle):
    cycle = any_cycle
    files = {path.name: path for path in cycle.out.iterdir()}
    opals = ["opalcore"] if cycle.json["platform"] == "powernv" else []
    assert sorted(files) == ["console.log", "firmware.log", *opals, "timeline.json", "vmcore"]
    assert {path.stat().st_mode & 0o777 for path in files.values()} == {0o600}
    assert files["vmcore"].stat().st_size == cycle.json["vmcore_bytes"]
    assert json.loads(cycle.file("timeline.json")) == cycle.json["timeline"]


def test_linux_says_so_too(any_cycle):
    console = any_cycle.file("console.log")
    assert console.count("fadump: Registration is successful!") == 2
    assert len(re.findall(r"(rtas|opal) fadump: Firmware-assisted dump is active\.", console)) == 1


def test_linux_releases_no_memory_of_rtas(cycle):
    console = cycle.file("console.log")
    rtas = int(re.search(r"instantiating rtas at (0x[0-9a-f]+)", console)[1], 16)
    freed = re.findall(r"freeing reserved memory \((0x[0-9a-f]+) - (0x[0-9a-f]+)\)", console)
    assert freed
    assert not [extent for extent in freed if int(extent[0], 16) <= rtas < int(extent[1], 16)]


def test_what_linux_frees_too_much_is_told(cycle):
    console = cycle.file("console.log")
    freed = re.findall(r"freeing reserved memory \((0x[0-9a-f]+) - (0x[0-9a-f]+)\)", console)
    told = {entry["what"]: entry for entry in cycle.json["freed_by_linux"]}
    assert {what: entry["kept"] for what, entry in told.items()} == {
        "crash-info header": True,
        "bootargs_append": False,
    }
    for entry in told.values():
        is_freed = any(int(start, 16) <= entry["address"] < int(end, 16) for start, end in freed)
        assert is_freed == (not entry["kept"])


def test_only_our_calls_stopped_the_guest(cycle):
    calls = [line.split(maxsplit=1)[1] for line in cycle.file("firmware.log").splitlines() if " token " in line]
    assert len(calls) == 4
    register, crash, invalidate, register_again = calls
    assert "(0x1 " in register and register.endswith("status 0")
    assert "dump triggered by os-term" in crash
    assert "(0x3 " in invalidate and invalidate.endswith("status 0")
    assert "(0x1 " in register_again and register_again.endswith("status 0")


def test_readelf_reads_headers_and_notes(any_cycle):
    done = subprocess.run(
        ["readelf", "-hln", any_cycle.json["vmcore"]], capture_output=True, text=True, check=True, env={"LC_ALL": "C"}
    )
    assert done.stderr == ""
    assert "CORE (Core file)" in done.stdout
    assert "PowerPC64" in done.stdout
    assert done.stdout.count("NT_PRSTATUS") == 2
    assert done.stdout.count("VMCOREINFO") == 1
    assert sum(line.split()[:1] == ["LOAD"] for line in done.stdout.splitlines()) >= 2


def test_fadump_off_is_one_sentence(tmp_path, kernel):
    """Of a small machine: a larger one has a crashkernel=, with which kdump saves the crash."""
    done = fadump_run(tmp_path / "out", "--memory", "1G", "--cmdline", "fadump=off")
    assert done.status == 1
    sentence, console = done.stderr.splitlines()[-2:]
    assert sentence.startswith("fadump: FADump is not enabled")
    assert console == f"fadump: the console is in {done.out}/console.log"
    assert done.json["result"] == "failed"
    assert not (tmp_path / "out" / "vmcore").exists()
    assert not (tmp_path / "out" / "vmcore.incomplete").exists()


def test_a_small_machine_with_one_cpu(tmp_path, kernel):
    done = fadump_run(tmp_path / "out", "--memory", "1G", "--cpus", "1")
    assert done.status == 0, done.stderr
    assert done.json["boot_memory_bytes"] == 320 * MIB
