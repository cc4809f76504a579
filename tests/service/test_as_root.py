"""Targets that only root can have: block devices and file systems; conftest.py leaves them out for anybody else."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from contextlib import contextmanager
from pathlib import Path

import pytest

from fadump.service.targets.contract import TargetError
from fadump.service.targets.raw import RawSettings
from fadump.vmcore.check import check_dump
from fadump.vmcore.dump import open_dump
from tests.real_linux.fadump_command import COMMAND, END_SECONDS
from tests.service.doctor.trees import booted

DISK_BYTES = 256 << 20


@contextmanager
def loop(path, size_bytes=DISK_BYTES):
    """A block device."""
    path.touch()
    os.truncate(path, size_bytes)
    device = subprocess.run(["losetup", "--find", "--show", path], capture_output=True, text=True, check=True)
    try:
        yield device.stdout.strip()
    finally:
        subprocess.run(["losetup", "--detach", device.stdout.strip()], check=True)


@pytest.fixture
def device(tmp_path):
    with loop(tmp_path / "disk") as device:
        yield device


@pytest.fixture
def file_system(device):
    """The UUID of a file system on it, which has a directory for dumps."""
    own = str(uuid.uuid4())
    subprocess.run(["mkfs.ext4", "-q", "-U", own, device], check=True)
    return own


def command(tmp_path, vmcore, target, *words):
    (tmp_path / "config").write_text(f'[save]\npriority = "normal"\n[[target]]\n{target}\n')
    return [*COMMAND, "capture", "--json", "--config", tmp_path / "config", "--vmcore", vmcore, *words]


def captured(tmp_path, vmcore, target):
    done = subprocess.run(command(tmp_path, vmcore, target), capture_output=True, text=True, check=False)
    return done.returncode, json.loads(done.stdout)


def mounted():
    """Where anything is mounted below /run/fadump-, and the directories there."""
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    left = [path for path in Path("/run").glob("fadump-*") if path.is_dir()]  # a lock may stay
    return [point for point in points if point.startswith("/run/fadump-")], left


def test_a_file_system_is_mounted_for_the_dump_alone(tmp_path, vmcore, device, file_system):
    target = f'type = "filesystem"\ndevice = "UUID={file_system}"\npath = "crash"'
    status, told = captured(tmp_path, vmcore, target)
    assert (status, told["result"]) == (0, "saved"), told
    assert told["target"] == f"UUID={file_system}/crash"
    assert told["where"] == f"UUID={file_system}/crash/{Path(told['where']).parent.name}/vmcore"
    assert mounted() == ([], [])
    look = ["unshare", "--mount", "sh", "-ec", 'mount "$1" "$2"; cp "$2"/crash/*/vmcore "$3"', "sh"]
    (tmp_path / "mnt").mkdir()
    subprocess.run([*look, device, tmp_path / "mnt", tmp_path / "copy"], check=True)
    with open_dump(tmp_path / "copy") as dump:
        assert check_dump(dump).whole
    assert captured(tmp_path, vmcore, target)[1]["already"]


def test_a_file_system_is_not_left_mounted_by_a_capture_that_is_killed(tmp_path, vmcore, file_system):
    target = f'type = "filesystem"\ndevice = "UUID={file_system}"\n[hooks]\nafter = ["sleep", "1000"]'
    with subprocess.Popen(command(tmp_path, vmcore, target), stdout=-1, stderr=-1) as process:
        while not (points := mounted_by(process.pid)) and process.poll() is None:
            time.sleep(0.01)
        assert points and not mounted()[0]
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=END_SECONDS)
    assert not mounted()[0]
    for left in mounted()[1]:
        left.rmdir()


def test_a_signal_while_it_is_unmounted_leaves_nothing(tmp_path, vmcore, file_system):
    tool = tmp_path / "bin" / "umount"
    tool.parent.mkdir()
    tool.write_text(f'#!/bin/sh\nkill -TERM $PPID\nexec {shutil.which("umount")} "$@"\n')
    tool.chmod(0o755)
    path = {"PATH": f"{tool.parent}:{os.environ['PATH']}"}
    words = command(tmp_path, vmcore, f'type = "filesystem"\ndevice = "UUID={file_system}"')
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=os.environ | path)
    assert (done.returncode, json.loads(done.stdout)["error"]) == (143, "ended by SIGTERM")
    assert mounted() == ([], [])


def mounted_by(pid):
    try:
        text = Path(f"/proc/{pid}/mountinfo").read_text()
    except OSError:
        return []
    return [line for line in text.splitlines() if line.split()[4].startswith("/run/fadump-")]


def test_a_second_file_system_takes_what_the_first_has_no_room_for_and_nothing_stays_there(
    tmp_path, vmcore, device, file_system
):
    with loop(tmp_path / "small", 2 << 20) as small:
        subprocess.run(["mkfs.ext4", "-q", small], check=True)
        target = f'type = "filesystem"\ndevice = "{small}"\n[[target]]\ntype = "filesystem"\ndevice = "{device}"'
        status, told = captured(tmp_path, vmcore, target)
        assert (status, told["target"], told["remarks"]) == (0, f"{device}/crash", []), told
        assert "No space left on device" in told["attempts"][0]["error"]
        assert told["removed"] == [f"{small}/crash/{Path(told['where']).parent.name}"]
        assert mounted() == ([], [])
        (tmp_path / "mnt").mkdir()
        look = ["unshare", "--mount", "sh", "-ec", 'mount "$1" "$2"; ls -A "$2/crash"', "sh"]
        left = subprocess.run([*look, small, tmp_path / "mnt"], capture_output=True, text=True, check=True)
        assert left.stdout == ""


def test_a_file_system_that_cannot_be_mounted_is_one_sentence(tmp_path, vmcore, device):
    status, told = captured(tmp_path, vmcore, f'type = "filesystem"\ndevice = "{device}"')
    assert status == 1 and f"{device}/crash can't be mounted: " in told["error"]
    assert mounted() == ([], [])


def test_a_link_does_not_lead_a_dump_out_of_the_file_system(tmp_path, vmcore, device, file_system):
    made = 'mount "$1" "$2"; ln -s "$3" "$2"/crash'
    (tmp_path / "mnt").mkdir()
    (tmp_path / "elsewhere").mkdir()
    subprocess.run(
        ["unshare", "--mount", "sh", "-ec", made, "sh", device, tmp_path / "mnt", tmp_path / "elsewhere"], check=True
    )
    status, told = captured(tmp_path, vmcore, f'type = "filesystem"\ndevice = "{device}"')
    assert status == 1 and "crash is a link that leads out of the file system" in told["error"]
    assert not [*(tmp_path / "elsewhere").iterdir()] and mounted() == ([], [])


def test_a_raw_device_takes_a_dump_and_is_recognised(tmp_path, vmcore, device):
    target = f'type = "raw"\ndevice = "{device}"'
    assert captured(tmp_path, vmcore, target)[1]["where"] == device
    with open_dump(device) as dump:
        assert check_dump(dump).whole
    assert captured(tmp_path, vmcore, target)[1]["already"]


def test_a_raw_device_that_is_too_small_says_so(tmp_path, vmcore):
    with loop(tmp_path / "small", 1 << 20) as device:
        status, told = captured(tmp_path, vmcore, f'type = "raw"\ndevice = "{device}"')
    assert status == 1 and "No space left on device" in told["error"]


def test_a_raw_device_in_use_is_refused_even_if_it_may_be_overwritten(tmp_path, device, file_system):
    settings = RawSettings(device, overwrite=True)
    (tmp_path / "mnt").mkdir()
    busy = pytest.raises(TargetError, match=f"^{device} can't be written to: Device or resource busy")
    with mounted_elsewhere(device, tmp_path / "mnt"), busy:
        settings.target(None).prepare()
    target = settings.target(None)
    target.prepare()
    target.close()


def test_swap_is_refused(device):
    subprocess.run(["mkswap", device], check=True, capture_output=True)
    with pytest.raises(TargetError, match=f"^{device} has swap on it"):
        RawSettings(device).target(None).prepare()


def test_a_hook_that_cannot_be_killed_is_not_waited_for(tmp_path, device, file_system):
    """As one that waits for a dead disk: here, for a file system that takes no writes."""
    run = (
        "import sys; from fadump.service.programs import run_program; "
        'print(run_program("it,", ["touch", sys.argv[1]], 1, {}))'
    )
    script = (
        'mount "$1" mnt; fsfreeze -f mnt; timeout 60 "$2" -c "$3" mnt/x || failed=$?; fsfreeze -u mnt; exit $failed'
    )
    (tmp_path / "mnt").mkdir()
    words = ["unshare", "--mount", "sh", "-ec", script, "sh", device, sys.executable, run]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "it, touch was not done after 1 seconds and has been killed\n")


@contextmanager
def mounted_elsewhere(device, point):
    """The device is mounted, in a mount namespace of its own."""
    script = 'mount "$1" "$2"; echo mounted; read -r _'
    words = ["unshare", "--mount", "sh", "-ec", script, "sh", device, point]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"mounted\n"
        yield
        process.communicate(b"\n")


def test_doctor_finds_a_file_system_that_is_mounted_read_only(tmp_path):
    tree = booted(tmp_path, "fadump=nocma")
    tree.kdump_tools()
    look = (
        "import sys; from pathlib import Path; from fadump.service.doctor.examination import examine; "
        "from fadump.service.doctor.files import SystemFiles; "
        "print(examine(SystemFiles(Path(sys.argv[1]))).verdict.sentence)"
    )
    script = 'mount -t tmpfs -o ro none "$1/var/crash"; exec "$2" -c "$3" "$1"'
    words = ["unshare", "--mount", "sh", "-ec", script, "sh", tmp_path, sys.executable, look]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout == (
        "A crash now would NOT be saved: /var/crash, where kdump-tools saves to, is on a file system that is mounted "
        "read-only.\n"
    )
