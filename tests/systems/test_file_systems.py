"""File systems in a disk image: found, and a directory copied out of one, without booting or mounting it."""

import os
import subprocess
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fadump.errors import SetupError
from fadump.kit.packages import require
from fadump.memory.ranges import Range
from fadump.systems.file_systems import copy_directory, file_systems

MIB = 1 << 20
NO_CHECKSUMS = ["-O", "^metadata_csum"]
TABLE = "label: dos\nstart=2048, size=8192, type=41\nstart=16384, type=83\n"


@pytest.fixture(autouse=True, scope="module")
def tools():
    require("running the tests", {"sfdisk": "fdisk", "mke2fs": "e2fsprogs", "debugfs": "e2fsprogs"})


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "root"
    (root / "var/crash/202611291200").mkdir(parents=True)
    (root / "var/crash/202611291200/dump it's").write_bytes(b"KDUMP   " * 1000)
    (root / "var/crash/now").write_bytes(b"first")
    (root / "var/crash/link").symlink_to("/etc/shadow")
    os.utime(root / "var/crash/202611291200/dump it's", (1_000_000_000, 1_000_000_000))
    return root


def make(image, root, *, partitioned, options=()):
    with image.open("wb") as file:
        file.truncate(40 * MIB)
    offset = 0
    if partitioned:
        subprocess.run(["sfdisk", "-q", image], input=TABLE, text=True, check=True)
        offset = 16384 * 512
    options = ["-q", "-t", "ext4", *options, "-E", f"offset={offset}", "-d", root]
    subprocess.run(["mke2fs", *options, image, f"{(40 * MIB - offset) // 1024}k"], check=True)
    return image


@pytest.mark.parametrize("partitioned", [False, True])
def test_a_directory_is_copied_out_with_its_times_and_kept_private(tmp_path, root, partitioned):
    image = make(tmp_path / "disk.img", root, partitioned=partitioned)
    (system,) = file_systems(image)
    assert (system.kind, system.place) == ("ext4", Range(16384 * 512 if partitioned else 0, 40 * MIB))
    assert copy_directory(system, "/var/crash", tmp_path / "out")
    copied = tmp_path / "out/202611291200/dump it's"
    assert copied.read_bytes() == b"KDUMP   " * 1000
    assert copied.stat().st_mtime == 1_000_000_000
    assert copied.stat().st_mode & 0o777 == 0o600 and copied.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("partitioned", [False, True])
def test_a_system_that_was_not_shut_down_has_its_journal_replayed(tmp_path, root, partitioned):
    image = make(tmp_path / "disk.img", root, partitioned=partitioned)
    (system,) = file_systems(image)
    file = f"{image}?offset={system.place.start}"
    shown = subprocess.run(["debugfs", "-R", "blocks /var/crash/now", file], capture_output=True, text=True, check=True)
    block = shown.stdout.split()[0]
    (tmp_path / "later").write_bytes(b"later".ljust(1024, b"\0"))
    journal = f"jo\njw -b {block} {tmp_path / 'later'}\njc\n"
    if partitioned:  # debugfs writes a journal to a whole disk only
        whole = tmp_path / "whole.img"
        whole.write_bytes(image.read_bytes()[system.place.start :])
        subprocess.run(["debugfs", "-w", whole], input=journal, text=True, capture_output=True, check=True)
        image.write_bytes(image.read_bytes()[: system.place.start] + whole.read_bytes())
    else:
        subprocess.run(["debugfs", "-w", image], input=journal, text=True, capture_output=True, check=True)
    assert copy_directory(system, "/var/crash", tmp_path / "out")
    assert (tmp_path / "out/now").read_bytes() == b"later"
    assert not list(tmp_path.glob("disk.img-*"))


def test_a_directory_that_is_not_there_is_none(tmp_path, root):
    (system,) = file_systems(make(tmp_path / "disk.img", root, partitioned=False))
    assert not copy_directory(system, "/var/none", tmp_path / "out")
    assert not copy_directory(system, "/var/crash/link", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_disk_without_a_file_system_has_none(tmp_path):
    image = tmp_path / "disk.img"
    image.write_bytes(bytes(MIB))
    assert list(file_systems(image)) == []


@given(st.lists(st.tuples(st.integers(1024, 2 * MIB), st.binary(min_size=1, max_size=300)), min_size=1, max_size=5))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_file_system_ends_in_a_sentence_at_worst(tmp_path_factory, root, damage):
    directory = tmp_path_factory.mktemp("damaged")
    image = make(directory / "disk.img", root, partitioned=False)
    with image.open("r+b") as file:
        for at, junk in damage:
            file.seek(at)
            file.write(junk)
    for system in file_systems(image):
        with suppress(SetupError):
            copy_directory(system, "/var/crash", directory / "out")


def test_a_name_that_leads_out_of_the_target_does_not(tmp_path, root):
    (root / "var/crash/..XoutsideX").write_bytes(b"hostile")
    image = make(tmp_path / "disk.img", root, partitioned=False, options=NO_CHECKSUMS)
    content = image.read_bytes()
    assert b"..XoutsideX" in content
    image.write_bytes(content.replace(b"..XoutsideX", b"../outside/"))
    (system,) = file_systems(image)
    (tmp_path / "into").mkdir()
    (tmp_path / "into/outside").mkdir()
    assert copy_directory(system, "/var/crash", tmp_path / "into/out")
    assert not list((tmp_path / "into/outside").iterdir())
    assert {path.name for path in (tmp_path / "into").iterdir()} == {"outside", "out"}


def test_a_link_and_a_file_of_one_name_overwrite_nothing(tmp_path, root):
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    (root / "var/crash/aaaaaaaa").symlink_to(victim)
    (root / "var/crash/bbbbbbbb").write_bytes(b"hostile")
    image = make(tmp_path / "disk.img", root, partitioned=False, options=NO_CHECKSUMS)
    image.write_bytes(image.read_bytes().replace(b"bbbbbbbb", b"aaaaaaaa"))
    (system,) = file_systems(image)
    copy_directory(system, "/var/crash", tmp_path / "out")
    assert victim.read_bytes() == b"mine"
