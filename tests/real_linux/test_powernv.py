"""PowerNV: real Linux takes its dump through OPAL's MPIPL, served by our firmware beside skiboot."""

import json
import re
import subprocess
import sys

from fadump.abi.platform import Platform
from fadump.observer import CrashBy
from fadump.vmcore.elfcore import ElfCore
from tests.real_linux.fadump_command import fadump_run
from tests.real_linux.opal_frames import opal_frames
from tests.real_linux.scenario import Scenario

POWERNV = ("--platform", "powernv", "--verify")
CRASH_PIR = 4
"""QEMU's powernv machines give each core four PIRs, or eight."""
SKIBOOT = 0x3000_0000


def test_no_byte_and_no_register_differs(powernv_cycle):
    verified = powernv_cycle.json["verified"]
    assert (verified["bytes_different"], verified["registers_different"]) == (0, [])
    assert verified["bytes_compared"] > 2 << 30


def test_only_memory_that_the_device_tree_reserves_for_firmware_is_excluded(powernv_cycle):
    verified = powernv_cycle.json["verified"]
    reasons = [left_out["reason"] for left_out in verified["excluded"]]
    assert 0 < verified["bytes_excluded"] < 256 << 20
    assert all(reason.startswith("reserved for firmware in the crashed kernel's device tree") for reason in reasons)
    assert any("ibm,firmware-heap" in reason for reason in reasons)


def test_linux_takes_the_registers_of_every_cpu(powernv_cycle):
    assert "appending only crashing CPU" not in powernv_cycle.file("console.log")


def test_linux_can_lend_its_dump_area_to_user_space(powernv_cycle):
    assert "Failed to init cma area" not in powernv_cycle.file("console.log")


def test_the_firmware_has_served_every_call(powernv_cycle):
    calls = [line.split(maxsplit=1)[1] for line in powernv_cycle.file("firmware.log").splitlines() if " token " in line]
    triggers = [call for call in calls if "dump triggered" in call]
    assert len(triggers) == 1 and triggers[0].startswith(f"CPU {CRASH_PIR} token 0x74 (0x3 ")
    assert all(" -> status 0" in call for call in calls if call not in triggers and "passed through" not in call)


def test_opals_core_is_saved_whole_and_is_its_memory_at_the_crash(powernv_cycle):
    opal = powernv_cycle.json["verified"]["opalcore"]
    assert opal["bytes_different"] == 0
    assert opal["bytes_compared"] > 28 << 20
    with ElfCore.open(powernv_cycle.out / "opalcore") as core:
        assert core.byte_order == "big"
        assert core.segments[0].virtual_address == SKIBOOT


def test_gdb_reads_opals_core_with_each_threads_registers(powernv_cycle):
    script = ["-ex", "info threads", "-ex", "thread apply all info registers r1 pc", "-ex", f"x/2xw {SKIBOOT:#x}"]
    done = subprocess.run(
        ["gdb-multiarch", "--batch", "-nx", "-ex", "set architecture powerpc:common64", "-ex", "set endian big",
         "-ex", f"core-file {powernv_cycle.out / 'opalcore'}", *script],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.count("LWP") >= 2, done.stdout + done.stderr
    assert f"LWP {100 + CRASH_PIR}" in done.stdout  # Linux adds 100 to a PIR
    assert done.stdout.count("\npc ") == 2
    assert f"{SKIBOOT:#x}:" in done.stdout
    shown = subprocess.run(
        [sys.executable, "-m", "fadump", "show", "--json", powernv_cycle.out / "opalcore"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    cpus = json.loads(shown.stdout)["cpus"]
    assert {100 + cpu["pir"] for cpu in cpus} == {int(thread) for thread in re.findall(r"LWP (\d+)", done.stdout)}
    assert [cpu["pir"] for cpu in cpus if cpu["crashed"]] == [CRASH_PIR]


def test_gdb_finds_the_calling_cpu_in_opals_call_by_opals_symbols(tmp_path, powernv_cycle):
    assert opal_frames(powernv_cycle.out / "opalcore", tmp_path / "opal.elf") == [
        "p9_sbe_terminate", "ipmi_terminate", "opal_cec_reboot2", "opal_entry",
    ]  # fmt: skip


def test_with_more_boot_memory_skiboots_own_is_compared_too(tmp_path, kernel):
    done = fadump_run(
        tmp_path / "out", *POWERNV, "--cpu-model", "POWER10", "--cpus", "4", "--cmdline", "crashkernel=1G"
    )
    assert done.status == 0, done.stderr
    verified = done.json["verified"]
    assert done.json["boot_memory_bytes"] == 1 << 30
    assert (verified["bytes_different"], verified["registers_different"]) == (0, [])
    assert not any("ibm,firmware-heap" in left_out["reason"] for left_out in verified["excluded"])


def test_a_machine_that_linux_has_no_part_in_the_end_of_keeps_its_dump_until_linux_drops_it(tmp_path, kernel):
    """A trigger from outside keeps the first dump, over another one too; a panic of the capture kernel loses it."""
    with Scenario(tmp_path, kernel, platform=Platform.POWERNV) as scenario:
        scenario.hello()
        first = scenario.crash(CrashBy.PLATFORM)
        second = scenario.crash(CrashBy.PLATFORM)
        dump = scenario.save()
        third = scenario.crash()
    assert [boot.mode for boot in (first, second, third)] == ["capture", "capture", "first"]
    assert dump.verdict.same
    assert dump.cpu_count == 2
    assert [call.partition(" ")[0] for call in scenario.calls()].count("dump") == 2


def test_without_a_registration_the_platform_still_dumps_opal(tmp_path, kernel):
    with Scenario(tmp_path, kernel, platform=Platform.POWERNV) as scenario:
        scenario.hello()
        scenario.unregister()
        boot = scenario.crash(CrashBy.PLATFORM)
        assert boot.opal_core_bytes > 28 << 20
        assert scenario.run("ls /proc/vmcore 2>&1 || true").endswith("No such file or directory\n")


def test_resets_drop_a_registration_and_linux_takes_an_nmi(tmp_path, kernel):
    with Scenario(tmp_path, kernel, platform=Platform.POWERNV) as scenario:
        boots = [scenario.hello(), scenario.reboot(), scenario.press_reset()]
        scenario.unregister()
        boots += [scenario.crash()]  # Linux's own affair
        boots += [scenario.crash(CrashBy.NMI)]
        dump = scenario.save()
    assert [(boot.mode, boot.registered) for boot in boots] == [*[("first", True)] * 4, ("capture", False)]
    assert dump.verdict.same
