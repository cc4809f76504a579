"""Where a crash would be saved to, and what has been saved there already."""

import os
import re
import shutil
import socket
from dataclasses import replace

import pytest

from fadump.memory.ranges import Range
from fadump.service.doctor.examination import examine
from fadump.service.doctor.findings import Check, Severity
from fadump.service.doctor.machine import look_at
from fadump.service.doctor.need import most_dump_bytes
from fadump.service.doctor.verdict import Outcome
from tests.service.doctor.answers import NOT_SAVED, found, outcome
from tests.service.doctor.trees import FOUR_GIB, GIB, booted

DEVICE = """\
[[target]]
type = "{type}"
device = "{device}"
"""


@pytest.mark.parametrize("kind", ["raw", "filesystem"])
@pytest.mark.parametrize("device", ["/dev/sdb1", "UUID=11-22", "LABEL=crash dumps"])
def test_a_device_that_dumps_go_to(armed, kind, device):
    armed.unit("fadump-capture.service")
    armed.remove("/etc/default/kdump-tools")
    armed.put("/etc/fadump.toml", DEVICE.format(type=kind, device=device))
    assert found(examine(armed.files), Check.TARGET, Severity.GOOD) == []  # a copied tree has no devices
    armed.put("/dev/disk/by-uuid/other", "")
    examination = examine(armed.files)
    assert examination.verdict.sentence == (
        f"{NOT_SAVED}{device}, where fadump-capture.service saves to, is not there."
    )
    armed.put("/dev/sdb1", "")
    armed.link("/dev/disk/by-uuid/11-22", "../../sdb1")
    armed.link("/dev/disk/by-label/crash\\x20dumps", "../../sdb1")
    armed.put("/sys/class/block/sdb1/size", f"{(64 << 20) // 512}\n")
    (finding,) = found(examine(armed.files), Check.TARGET)
    assert finding[0] is Severity.WARNING and finding[1].startswith(f"{device} has 64.0 MiB; a dump of this moment at ")
    armed.put("/sys/class/block/sdb1/size", f"{(64 << 30) // 512}\n")
    (finding,) = found(examine(armed.files), Check.TARGET, Severity.GOOD)
    assert finding[0] is Severity.GOOD


def test_with_another_place_nothing_is_lost(armed):
    armed.unit("fadump-capture.service")
    armed.put("/etc/fadump.toml", DEVICE.format(type="raw", device="/dev/sdb1") + '[[target]]\ntype = "directory"\n')
    armed.put("/dev/disk/by-uuid/other", "")
    examination = examine(armed.files)
    assert outcome(examination) == (Outcome.SAVED, Severity.WARNING)
    assert "to /dev/sdb1, or else to /var/crash by fadump-capture.service" in examination.verdict.sentence


def test_another_service_s_place_is_not_what_counts(armed):
    """A crash goes to the service that comes first."""
    armed.unit("fadump-capture.service")
    armed.unit("kdump.service")
    armed.put("/etc/kdump.conf", "nfs there:/crash\n")
    armed.put("/etc/fadump.toml", DEVICE.format(type="raw", device="/dev/sdb1"))
    armed.put("/dev/disk/by-uuid/other", "")
    examination = examine(armed.files)
    assert outcome(examination) == (Outcome.SAVED, Severity.WARNING)
    assert "nfs://there:/crash" in examination.verdict.sentence


def test_a_directory_s_room_is_that_of_its_file_system(armed):
    """Of this machine's, where the tree is: /proc/meminfo is what differs."""
    armed.put("/proc/meminfo", f"MemFree: {4 << 20} kB\n")
    files = replace(armed.files, is_running_system=True)
    free_bytes = shutil.disk_usage(armed.directory).free
    (finding,) = found(examine(files), Check.TARGET, Severity.GOOD)
    told = re.fullmatch(
        r"/var/crash has ([\d.]+) GiB free; a dump of this moment at level 31 has .* is packed", finding[1]
    )
    assert finding[0] is Severity.GOOD and float(told[1]) == pytest.approx(free_bytes / GIB, rel=0.2)
    tree = booted(armed.directory / "large", "fadump=nocma", memory=(Range(0, 1 << 42),))
    tree.kdump_tools()
    tree.put("/proc/meminfo", "MemFree: 0 kB\n")
    (finding,) = found(examine(replace(tree.files, is_running_system=True)), Check.TARGET)
    assert finding[0] is Severity.WARNING and "has at most 4.0 TiB" in finding[1]
    assert finding[2] == "remove older dumps from /var/crash, or name another place in /etc/default/kdump-tools"


def test_a_directory_in_memory_keeps_no_dump(armed):
    """By the numbers of the device that the tree is on, which its mountinfo calls a tmpfs; see proc(5)."""
    device = armed.directory.stat().st_dev
    numbers = f"{os.major(device)}:{os.minor(device)}"
    armed.put(
        "/proc/self/mountinfo",
        f"21 1 0:19 / /x rw - ext4 /dev/sda1 rw\n22 1 {numbers} / / rw,relatime shared:1 - tmpfs tmpfs rw\n",
    )
    examination = examine(replace(armed.files, is_running_system=True))
    assert examination.verdict.sentence.endswith(
        "NOT be saved: /var/crash, where kdump-tools saves to, is on tmpfs, memory that a reboot clears."
    )
    (finding,) = found(examination, Check.TARGET)
    assert finding[2] == "name a directory on a disk in /etc/default/kdump-tools"


def test_a_server_that_dumps_go_to_is_asked_whether_it_is_there(armed):
    armed.put("/etc/default/kdump-tools", "USE_KDUMP=1\nSSH=root@localhost\n")
    (finding,) = found(examine(armed.files), Check.TARGET)
    assert finding[0] is Severity.NOTE and finding[1].endswith("which is not looked at from here")
    armed.remove("/etc/default/kdump-tools")
    armed.unit("kdump.service")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        armed.put("/etc/sysconfig/kdump", f"KDUMP_SAVEDIR=sftp://me@127.0.0.1:{port}/crash\nKDUMP_FADUMP=yes\n")
        files = replace(armed.files, is_running_system=True)
        (finding,) = found(examine(files), Check.TARGET, Severity.GOOD)
        assert finding[1] == f"127.0.0.1, where openSUSE's kdump saves to, answers at port {port}"
    examination = examine(files)
    assert outcome(examination) == (Outcome.NOT_SAVED, Severity.CRITICAL)
    assert examination.verdict.sentence.endswith(f"can't be reached at port {port}: Connection refused.")


def test_our_service_makes_a_directory_whose_parent_is_there(armed):
    armed.unit("fadump-capture.service")
    armed.remove("/etc/default/kdump-tools")
    (armed.directory / "var/crash").rmdir()
    assert found(examine(armed.files), Check.TARGET) == []
    (armed.directory / "var").rmdir()
    assert found(examine(armed.files), Check.TARGET)[0][2] == "mkdir -m 700 -p /var/crash"


def test_what_a_dump_has_at_most_is_what_the_level_leaves(tmp_path):
    """By hand: 4 GiB, of which 3 are free, 512 MiB page cache (of those 128 shared memory) and 64 MiB processes'."""
    tree = booted(tmp_path, "fadump=nocma", memory=FOUR_GIB)
    kib = {"MemFree": 3 << 20, "Buffers": 0, "Cached": 512 << 10, "Shmem": 128 << 10, "AnonPages": 64 << 10}
    tree.put("/proc/meminfo", "".join(f"{name}: {size} kB\n" for name, size in kib.items()))
    machine = look_at(tree.files)
    sizes = {level: most_dump_bytes(machine, level) >> 20 for level in (0, 1, 8, 16, 31)}
    assert sizes == {0: 4096, 1: 4096, 8: 4032, 16: 1024, 31: 576}


@pytest.mark.parametrize(("name", "severity"), [
    ("202611291605/dump.202611291605", Severity.NOTE), ("127.0.0.1-2026-11-29-16:05/vmcore", Severity.NOTE),
    ("202611291605/dump-incomplete", Severity.WARNING), ("20261129T1605Z/vmcore.incomplete", Severity.WARNING),
])  # fmt: skip
def test_the_last_dump_and_whether_it_is_whole(armed, name, severity):
    for file, seconds in (("201001010000/dump.201001010000", 1262304000), (name, 1795968300)):
        armed.put(f"/var/crash/{file}", "a dump")
        os.utime(armed.directory / f"var/crash/{file}", (seconds, seconds))
    (finding,) = found(examine(armed.files), Check.LAST_DUMP)
    assert finding[0] is severity and f"/var/crash/{name}, is of 2026-11-29 16:05 UTC" in finding[1]
    assert finding[2] == f"fadump check /var/crash/{name}"


def test_a_directory_that_is_missing_is_made_by_some(armed):
    shutil.rmtree(armed.directory / "var")
    assert found(examine(armed.files), Check.TARGET) == []  # by kdump-config
    armed.remove("/etc/default/kdump-tools")
    armed.unit("kdump.service")
    armed.put("/etc/sysconfig/kdump", "KDUMP_FADUMP=true\n")
    assert found(examine(armed.files), Check.TARGET) == []  # by openSUSE's kdump-save
    armed.put("/etc/kdump.conf", "path /var/crash\n")
    (finding,) = found(examine(armed.files), Check.TARGET)  # not by kdump-utils
    assert (finding[0], finding[2]) == (Severity.WARNING, "mkdir -m 700 -p /var/crash")
