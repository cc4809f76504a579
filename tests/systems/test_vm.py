"""What is refused of a machine for any system, before anything is started; and what is told of its life."""

import io
import json
import os
import subprocess
import sys

import pytest

from fadump.cli import main
from fadump.cycle import CycleRequest, run_cycle
from fadump.firmware.contract import PreservedDump, PreservedRegion
from fadump.machine.embedded.config import EmbeddedConfig
from fadump.machine.embedded.machine import EmbeddedMachine
from fadump.memory.ranges import RangeSet
from fadump.observer import Seen, Unwatched
from fadump.systems.events import EventLog
from fadump.systems.vm import VmOptions, make_firmware


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--disk {disk} --stop-at crash", "--stop-at needs --gdb: the machine would stand still for ever"),
        ("", "there is nothing to boot: give a --disk with a boot loader, or a --kernel"),
        ("--disk {disk} --initrd {disk}", "--initrd and --cmdline go with --kernel"),
        ("--disk {disk} --cmdline quiet", "--initrd and --cmdline go with --kernel"),
        ("--disk {disk} --platform powernv", "--platform powernv needs a --kernel"),
        ("--disk {disk} --memory 1100M", "in steps of 256 MiB"),
        ("--disk {disk} --memory 512M", "--memory must be from 1 to 1024 GiB, in steps of 256 MiB, 512 MiB is not"),
        ("--disk {disk} --memory 1000T", "--memory must be from 1 to 1024 GiB, in steps of 256 MiB, 1048576000 MiB is"),
        ("--disk {disk} --memory 8E", "--memory must be from 1 to 1024 GiB"),
        ("--kernel {disk} --platform powernv --memory 2G", "--memory must be from 4 to 1024 GiB"),
        ("--disk {disk} --cpus 33", "--cpus must be from 1 to 32, 33 is not"),
        ("--disk {disk} --cpus 4 --smt 3", "--smt must be 1, 2, 4 or 8 and divide --cpus, 3 is not"),
        ("--kernel {disk} --platform powernv --cpu-model POWER8", "powernv has --cpu-model POWER9, POWER10, POWER11"),
        (
            "--kernel {disk} --platform powernv --cpus 8 --smt 8",
            "QEMU's powernv has 4 threads per core at most, --smt 8",
        ),
        ("--kernel {disk}", "is no ELF file"),
        ("--disk {disk} --qemu-arg 'x", "--qemu-arg 'x: close its quotation marks, or put a backslash before one"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_started(tmp_path, capsys, words, said):
    (tmp_path / "disk").write_bytes(bytes(1 << 20))
    assert main(["vm", *words.format(disk=tmp_path / "disk").split()]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("words", ["--events {disk}", "--console-log {link}", "--console-log {new} --events {new}"])
def test_no_file_of_the_machines_is_written_over(tmp_path, capsys, words):
    names = {name: tmp_path / name for name in ("disk", "link", "new")}
    names["disk"].write_bytes(b"whole" * 1000)
    names["link"].hardlink_to(names["disk"])
    assert main(f"vm --disk {names['disk']} {words.format(**names)}".split()) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"fadump: {words.split()[-2]} {names[words.split()[-1][1:-1]]} is the --")
    assert said.endswith(", too: name another file\n")
    assert names["disk"].read_bytes() == b"whole" * 1000
    assert not names["new"].exists()


def test_what_is_refused_has_written_over_nothing(tmp_path, capsys):
    (tmp_path / "disk").write_bytes(bytes(1 << 20))
    (tmp_path / "events").write_text("of yesterday")
    assert main(["vm", "--disk", str(tmp_path / "disk"), "--events", str(tmp_path / "events"), "--cpus", "0"]) == 2
    assert "--cpus must be" in capsys.readouterr().err
    assert (tmp_path / "events").read_text() == "of yesterday"


def test_a_disk_that_is_not_there_cannot_be_tried(tmp_path, capsys):
    assert main(["vm", "--disk", str(tmp_path / "none")]) == 125
    assert str(tmp_path / "none") in capsys.readouterr().err


def test_each_event_is_told_once_with_its_time():
    told = []
    log = EventLog(told.append)
    for at_seconds, seen in enumerate(Seen):
        log.seen(seen, at_seconds + 0.25)
    region = PreservedRegion(
        type=1, source=0, requested_bytes=3 << 20, copied_bytes=3 << 20, destination=1 << 30, error_flags=0
    )
    dump = PreservedDump((region, region), b"", RangeSet(), RangeSet())
    log.preserved(dump, 9.5)
    names = [json.loads(event.as_json())["event"] for event in told]
    assert sorted(names) == sorted(seen.value for seen in Seen)
    assert json.loads(told[-1].as_json()) == {
        "event": "preserved", "at_seconds": 9.5, "bytes": 6 << 20, "regions": 2
    }  # fmt: skip
    assert told[0].as_text() == "    0.25 s  the kernel has registered: a crash will be dumped"
    assert "copied 6 MiB aside, in 2 regions" in told[-1].as_text()


def test_a_guest_larger_than_this_computers_memory_is_a_file_on_a_disk(tmp_path):
    (tmp_path / "disk").write_bytes(bytes(1 << 20))
    command = [sys.executable, "-m", "fadump", "vm", "--disk", tmp_path / "disk", "--memory", "1T"]
    done = subprocess.run(
        ["prlimit", f"--fsize={1 << 30}", *command],
        env=os.environ | {"TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 125
    told, said = done.stderr.splitlines(keepends=True)
    assert told == (
        "fadump: this computer has less memory available than the guest's 1048576 MiB: they are a file on the disk of "
        f"{tmp_path}, which takes as much of it as the guest writes\n"
    )
    assert said == f"fadump: no 1048576 MiB in {tmp_path} for the guest: File too large\n"


def test_memory_that_this_process_may_not_have_is_said_with_its_size(tmp_path):
    (tmp_path / "disk").write_bytes(bytes(1 << 20))
    done = subprocess.run(
        [
            "prlimit",
            f"--as={16 << 30}",
            sys.executable,
            "-m",
            "fadump",
            "vm",
            "--disk",
            tmp_path / "disk",
            "--memory=64G",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 125
    assert (
        done.stderr.splitlines(keepends=True)[-1]
        == "fadump: no 65536 MiB of address space for the guest: Cannot allocate memory\n"
    )


@pytest.mark.parametrize("strict", [False, True])
def test_a_strict_firmware_protects_nothing_from_linux(tmp_path, strict):
    firmware = make_firmware(VmOptions(strict=strict))
    with (tmp_path / "disk").open("w+b") as disk:
        disk.truncate(3 << 30)
        with EmbeddedMachine(EmbeddedConfig("fadump=on"), disk.fileno(), io.BytesIO()) as machine:
            result = run_cycle(machine, firmware, CycleRequest(), Unwatched())
    assert (result.dump.protected is None) is strict
