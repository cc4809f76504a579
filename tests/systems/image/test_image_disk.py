"""A disk image's partitions by sfdisk, its file system by dumpe2fs and debugfs."""

import json
import subprocess
import uuid

import pytest

from fadump.errors import SetupError
from fadump.kit.packages import require
from fadump.systems.image_disk import Disk

UUID = uuid.UUID("6f8d1d6e-4c1f-4a55-9f0e-0a4cf1a2b3c4")
ROOT = "?offset=9437184"


pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture(autouse=True, scope="module")
def tools():
    require("running the tests", {"sfdisk": "fdisk", "debugfs": "e2fsprogs", "dumpe2fs": "e2fsprogs"})


@pytest.fixture
def disk(tmp_path):
    disk = Disk(tmp_path / "disk.img", 64 << 20, UUID)
    disk.partition()
    return disk


def output_of(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_sfdisk_finds_a_prep_partition_and_a_root_partition_that_fill_the_disk(disk):
    table = json.loads(output_of("sfdisk", "--json", disk.path))["partitiontable"]
    assert (table["label"], table["sectorsize"]) == ("dos", 512)
    prep, root = ({name: part[name] for name in ("start", "size", "type")} for part in table["partitions"])
    assert prep == {"start": 2048, "size": 16384, "type": "41"}
    assert root == {"start": 18432, "size": (64 << 11) - 18432, "type": "83"}
    assert [part.get("bootable", False) for part in table["partitions"]] == [True, False]
    assert subprocess.run(["sfdisk", "--verify", disk.path], check=False, capture_output=True).returncode == 0


def test_the_root_file_system_has_the_files_and_no_feature_that_grub_cannot_read(disk, tmp_path):
    (tmp_path / "root/etc").mkdir(parents=True)
    (tmp_path / "root/etc/motd").write_text("hello\n")
    disk.format_root(tmp_path / "root")
    assert output_of("debugfs", "-R", "cat /etc/motd", f"{disk.path}{ROOT}") == "hello\n"
    about = dict(line.split(":", 1) for line in output_of("dumpe2fs", "-h", f"{disk.path}{ROOT}").splitlines() if line)
    assert about["Filesystem UUID"].strip() == str(UUID)
    assert int(about["Block count"]) * int(about["Block size"]) == (64 - 9) << 20
    assert not {"metadata_csum_seed", "orphan_file", "encrypt", "casefold"} & set(about["Filesystem features"].split())
    assert json.loads(output_of("sfdisk", "--json", disk.path))["partitiontable"]["partitions"][0]["type"] == "41"


def test_the_image_is_sparse(disk, tmp_path):
    (tmp_path / "root").mkdir()
    disk.format_root(tmp_path / "root")
    assert disk.path.stat().st_blocks * 512 < 8 << 20


def test_files_that_do_not_fit_are_told(disk, tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "root/large").write_bytes(b"x" * (64 << 20))
    with pytest.raises(SetupError, match=r"making the image's file system failed with exit status 1: .*; the log is"):
        disk.format_root(tmp_path / "root")
