"""OPAL itself fails: its dump, on QEMU 7.2's skiboot and a newer one, with gdb to say where it was."""

import json
import subprocess
import sys

import pytest

from fadump.abi.platform import Platform
from fadump.firmware.contract import TriggerKind
from fadump.kit.kernel import build_kernel
from fadump.vmcore.dump import open_dump
from tests.real_linux.fadump_command import fadump_run
from tests.real_linux.opal_frames import opal_frames
from tests.real_linux.scenario import Scenario

FAILED = ["p9_sbe_terminate", "ipmi_terminate", "assert_fail", "opal_poll_events", "opal_entry"]


@pytest.mark.parametrize(
    "options",
    [
        ["--cpus", "4"],
        ["--qemu", "newest", "--cpu-model", "POWER10", "--cpus", "4", "--smt", "2", "--cmdline", "crashkernel=1G"],
    ],
    ids=["7.2", "newest"],
)
def test_an_opal_that_fails_is_dumped_where_it_stood(tmp_path, options):
    build_kernel()
    done = fadump_run(tmp_path / "out", "--platform", "powernv", "--crash-by", "opal", "--verify", *options)
    assert done.status == 0, f"{done.stderr}\nfiles are in {done.out}"
    verified = done.json["verified"]
    assert (verified["bytes_different"], verified["registers_different"]) == (0, [])
    assert (verified["opalcore"]["bytes_different"], done.json["reboots"]) == (0, 1)
    core = done.out / "opalcore"
    assert opal_frames(core, tmp_path / "opal.elf") == FAILED
    shown = json.loads(fadump("show", "--json", core))
    assert shown["opal"]["ended_by_itself"]
    (crashed,) = (cpu for cpu in shown["cpus"] if cpu["crashed"])
    assert [frame["symbol"].removeprefix(".") for frame in crashed["backtrace"]] == FAILED
    console = done.file("console.log")
    assert "Triggering attn" in console and "assert failed at core/opal.c" in console
    pirs = [cpu["pir"] for cpu in shown["cpus"]]
    assert len(pirs) == len(set(pirs)) == 4 and f"CPU {crashed['pir']:04x} Backtrace" in console
    check_others(shown["cpus"], done.out / "vmcore")
    assert json.loads(fadump("check", "--json", core))["result"] == "whole"
    check_that_another_address_is_another_function(core, crashed["registers"], tmp_path)


def test_an_opal_that_fails_unasked_is_dumped_too(tmp_path, kernel):
    with Scenario(tmp_path, kernel, platform=Platform.POWERNV) as scenario:
        scenario.hello()
        base = int(scenario.run("hexdump -v -e '1/1 \"%02x\"' /proc/device-tree/ibm,opal/opal-base-address"), 16)
        offset, *_type = scenario.run("grep ' attn_trigger$' /sys/firmware/opal/symbol_map").split()
        scenario.machine.memory.write(base + int(offset, 16), bytes.fromhex("deadbeef"))
        boot = scenario.hello()
        dump = scenario.save()
        scenario.back_to_production()
    assert boot.is_capture and dump.verdict.same and dump.cpu_count == 2
    assert scenario.session.record.trigger.kind is TriggerKind.OPAL
    assert "assert failed at core/opal.c" in scenario.console()


def check_others(cpus, vmcore):
    """Each CPU is in both dumps where it was; none of Linux's is one that crashed."""
    in_linux = json.loads(fadump("show", "--json", vmcore))["cpus"]
    assert not any(cpu["crashed"] for cpu in in_linux)
    (in_opal,) = (cpu for cpu in in_linux if cpu["in_firmware"])
    assert in_opal["registers"]["nip"] == next(cpu["registers"]["nip"] for cpu in cpus if cpu["crashed"])
    of_linux = sorted(cpu["registers"]["nip"] for cpu in in_linux)
    assert of_linux == sorted(cpu["registers"]["nip"] for cpu in cpus)
    with open_dump([vmcore]) as dump:
        assert sum(note.is_prstatus() for note in dump.notes) == len(cpus)


def check_that_another_address_is_another_function(core, registers, directory):
    """The negative control: with the LR of its note spoilt, gdb doesn't come to OPAL's abort any more."""
    content = core.read_bytes()
    link = registers["link"].to_bytes(8, "big")
    spoilt = directory / "spoilt"
    spoilt.write_bytes(content.replace(link, bytes(8), 1))
    assert opal_frames(spoilt, directory / "spoilt.elf")[:2] != FAILED[:2]


def fadump(*words):
    command = [sys.executable, "-m", "fadump", *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
