"""``fadump rehearse`` on a system with a disk and a service of its own: each ending, told by what is on the disk."""

import hashlib
import json
import subprocess
import sys

import pytest

from tests.real_linux import mini_system

SECONDS = 600


@pytest.fixture
def rehearse(tmp_path, kernel):
    def run(*options, **system):
        image = mini_system.build(tmp_path, **system)
        before = hashlib.sha256(image.read_bytes()).digest()
        command = [sys.executable, "-m", "fadump", "rehearse", "--json", "--out", tmp_path / "out"]
        machine = ["--kernel", kernel.bootable, "--disk", image, "--cmdline", mini_system.CMDLINE, "--memory", "1G"]
        done = subprocess.run(
            [*command, *machine, *options], capture_output=True, text=True, timeout=SECONDS, check=False
        )
        assert hashlib.sha256(image.read_bytes()).digest() == before, "the user's disk has been written to"
        return done.returncode, json.loads(done.stdout), done.stderr

    return run


def test_a_system_that_saves_and_releases_passes_with_every_byte_compared(rehearse, tmp_path):
    status, result, said = rehearse("--verify")
    assert (status, result["result"], result.get("error")) == (0, "saved", None), said
    assert (result["service"], result["resets"], result["warnings"]) == ("released", 1, [])
    assert result["dump"]["path"] == "/var/crash/today/vmcore" and result["dump"]["check"] == "whole"
    assert result["verified"]["bytes_different"] == 0 and not result["verified"]["registers_different"]
    assert result["verified"]["bytes_compared"] > 700 << 20
    copies = list((tmp_path / "out").rglob("vmcore"))
    assert [copy.stat().st_mode & 0o777 for copy in copies] == [0o600]
    assert [entry["event"] for entry in result["timeline"]] == [
        *("power_on", "registered", "crash", "preserved", "capture_boot", "production"),
    ]


def test_a_system_that_saves_nothing_has_lost_its_dump(rehearse):
    status, result, said = rehearse(save="true", then=mini_system.REBOOT)
    assert (status, result["result"], result["phase"]) == (1, "lost", "saved"), said
    assert "has rebooted out of its capture boot, and there is no new dump in its /var/crash" in result["error"]
    assert (result["service"], result["resets"]) == ("rebooted", 2)


def test_a_system_that_does_not_register_is_named(rehearse):
    status, result, said = rehearse("--patience", "0.5", extra="echo 0 >/sys/kernel/fadump/registered")
    assert (status, result["result"], result["phase"]) == (1, "not-registered", "registered"), said


def test_a_capture_kernel_that_crashes_has_lost_its_dump(rehearse):
    status, result, said = rehearse(save="echo c >/proc/sysrq-trigger")
    assert (status, result["result"]) == (1, "lost"), said
    assert "the capture kernel has crashed, too" in result["error"]


def test_a_dump_that_was_cut_short_is_not_saved(rehearse):
    status, result, said = rehearse(save="head -c 300000000 /proc/vmcore >/var/crash/today/vmcore")
    assert (status, result["result"], result["dump"]["check"]) == (1, "lost", "damaged"), said
    assert "/var/crash/today/vmcore is not whole" in result["error"]
