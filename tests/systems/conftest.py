"""Files and disks of systems that aren't ours. What only root can make or mount is tested as root only."""

import os
import subprocess

import pytest

collect_ignore = [] if os.geteuid() == 0 else ["test_as_root.py"]
DISK_BYTES = 80 << 20
ONE_PARTITION = "label: gpt\nstart=2048, size=100000, type=E6D6D379-F507-44C2-A23C-238F2A3DF928\n"


def pytest_report_header():
    """Say so."""
    return [f"not tested, as you aren't root: {name}" for name in collect_ignore]


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "root"
    (root / "var/crash/202611291200").mkdir(parents=True)
    (root / "var/crash/202611291200/dump it's").write_bytes(b"KDUMP   " * 1000)
    (root / "var/crash/now").write_bytes(b"first")
    (root / "var/crash/link").symlink_to("/etc/shadow")
    os.utime(root / "var/crash/202611291200/dump it's", (1_000_000_000, 1_000_000_000))
    return root


@pytest.fixture
def disks(tmp_path):
    """Two disks, of 80 MiB, the first with one partition."""
    images = [tmp_path / "first.img", tmp_path / "second.img"]
    for image in images:
        with image.open("wb") as file:
            file.truncate(DISK_BYTES)
    subprocess.run(["sfdisk", "-q", images[0]], input=ONE_PARTITION, text=True, check=True)
    return images
