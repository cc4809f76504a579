"""``fadump rehearse`` on a system with a disk and a service of its own, told by what is on the disk afterwards."""

import json
import subprocess
import sys

from junitparser import Failure, JUnitXml

REGISTERS_AGAIN = "echo 0 >/sys/kernel/fadump/registered; echo 1 >/sys/kernel/fadump/registered"
SECONDS = 300


def test_a_system_that_saves_and_releases_passes_with_every_byte_compared(rehearse, tmp_path):
    junit, kept = tmp_path / "junit.xml", tmp_path / "kept"
    reports = ("--junit", str(junit), "--artifacts", str(kept))
    status, result, said = rehearse("--verify", *reports, extra=REGISTERS_AGAIN)
    assert (status, result["result"], result.get("error")) == (0, "saved", None), said
    assert (result["service"], result["resets"], result["warnings"]) == ("released", 1, [])
    assert result["dump"]["path"] == "/var/crash/today/vmcore" and result["dump"]["check"] == "whole"
    assert result["verified"]["bytes_different"] == 0 and not result["verified"]["registers_different"]
    assert result["verified"]["bytes_compared"] > 700 << 20
    copies = list((tmp_path / "out").rglob("vmcore"))
    assert [copy.stat().st_mode & 0o777 for copy in copies] == [0o600]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"console.log", "crash0"}
    assert [entry["event"] for entry in result["timeline"]] == [
        *("power_on", "registered", "crash", "preserved", "capture_boot", "production"),
    ]
    assert [window["boot"] for window in result["unregistered"]] == [1, 2]
    assert "\n2 times without a registration, " in said
    assert said.count("as a part of its shutdown") == 1
    memory = result["memory"]
    assert memory["guest_bytes"] == 1 << 30
    assert memory["guest_bytes"] > memory["reserved_bytes"] >= memory["boot_memory_bytes"] > memory["available_bytes"]
    (suite,) = JUnitXml.fromfile(junit)
    events = [entry["event"] for entry in result["timeline"]]
    assert [case.name for case in suite] == [*events, "verified: memory", "verified: registers"]
    assert all(case.is_passed for case in suite)
    trees = {"device-tree.1.dtb", "device-tree.2.dtb"}
    assert {"index.html", "index.json", "console.log", "dmesg.txt"} | trees == {path.name for path in kept.iterdir()}
    assert "Linux version" in (kept / "dmesg.txt").read_text()


def test_a_disk_without_a_boot_loader_ends_at_once(tmp_path):
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(1 << 20))
    junit = tmp_path / "junit.xml"
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "fadump",
            "rehearse",
            "--json",
            "--disk",
            disk,
            "--out",
            tmp_path / "out",
            "--junit",
            junit,
        ],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    result = json.loads(done.stdout)
    assert (done.returncode, result["result"], result["phase"]) == (1, "lost", "registered"), done.stderr
    assert result["error"].startswith("no boot loader can be started from the first --disk (E3404: Not a bootable dev")
    assert "\n  | E3404: Not a bootable device!" in result["error"]
    (suite,) = JUnitXml.fromfile(junit)
    assert [case.name for case in suite if case.result and isinstance(case.result[0], Failure)] == ["registered"]
