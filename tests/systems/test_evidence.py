"""What a system has on its disks after a rehearsal: which files are dumps, and which of them are new."""

import os

import pytest

from fadump.machine.qemu.config import DiskFormat, Drive
from fadump.proof.verify import Verifier
from fadump.systems.evidence import judge, take_out
from tests.systems.test_file_systems import make
from tests.vmcore.core_builder import Load, build_core
from tests.vmcore.kdump_builder import build_kdump, sample

BEGUN = 1_700_000_000


@pytest.fixture
def taken(tmp_path):
    """Takes the dumps out of a disk whose /var/crash has these files: name -> (content, seconds after the start)."""

    def take(files, directory="/var/crash", within="var/crash"):
        root = tmp_path / "root"
        for name, (content, seconds) in files.items():
            path = root / within / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            os.utime(path, (BEGUN + seconds, BEGUN + seconds))
        image = make(tmp_path / "disk.img", root, partitioned=True)
        (tmp_path / "out").mkdir()
        taken = take_out([Drive(image, DiskFormat.RAW)], directory, BEGUN, tmp_path / "out")
        assert {path.name for path in (tmp_path / "out").iterdir()} <= {"crash0"}
        return taken

    return take


def test_dumps_of_any_format_are_found_the_newest_first(taken):
    found = taken(
        {
            "a/dump": (build_kdump(sample()), 60),
            "b/vmcore": (build_core([Load(0, b"x" * 4096)]), 90),
            "old/vmcore": (build_core([Load(0, b"x" * 4096)]), -5),
        }
    )
    assert [dump.path for dump in found.dumps] == ["/var/crash/b/vmcore", "/var/crash/a/dump"]
    assert [dump.size_bytes for dump in found.dumps] == [dump.copy.stat().st_size for dump in found.dumps]
    assert not found.others


def test_what_is_no_dump_is_named_with_the_reason(taken):
    found = taken({"today/dump": (b"", 9), "today/dmesg": (b"[ 0.0] Linux version", 9)})
    assert not found.dumps
    assert found.others == [
        "/var/crash/today/dmesg: not a dump file: neither ELF nor kdump-compressed nor flattened",
        "/var/crash/today/dump: the file is empty",
    ]


def test_a_file_system_that_is_mounted_on_the_way_is_looked_into_as_well(taken):
    found = taken({"today/dump": (build_kdump(sample()), 9)}, within="crash")
    assert [dump.path for dump in found.dumps] == ["/var/crash/today/dump"]


def test_a_dump_is_checked_and_its_damage_said(taken):
    whole, cut = build_kdump(sample()), build_kdump(sample())[:-100]
    found = taken({"whole": (whole, 9), "cut": (cut, 8)})
    judged = [judge(dump, None, None) for dump in found.dumps]
    assert [judged.damage == [] for judged in judged] == [True, False]
    with Verifier() as verifier:  # which has seen no crash
        judged = judge(found.dumps[1], verifier, None)
    assert judged.damage and judged.verdict is None
