"""Volumes on disks: partitions, and logical volumes as LVM's own tools make them."""

import os
import subprocess
from contextlib import ExitStack, contextmanager

import pytest

from fadump.kit.packages import require
from fadump.systems.volumes import unnamed_file, volumes
from tests.systems.test_lvm import TEXT, volume

MIB = 1 << 20
DISK_BYTES = 80 * MIB
ONE_PARTITION = "label: gpt\nstart=2048, size=100000, type=E6D6D379-F507-44C2-A23C-238F2A3DF928\n"
MADE = """
first=$(losetup --find --show -o 1048576 --sizelimit 51200000 "$1"); second=$(losetup --find --show "$2")
trap 'losetup -d $first; losetup -d $second' EXIT
lvm="lvm"; options="--driverloaded n -an -Zn -Wn -n"
lvm pvcreate -q $first; lvm pvcreate -q $second; lvm vgcreate vg0 $first $second
lvm lvcreate $options root -L 20M vg0 $first
lvm lvcreate $options var -L 8M vg0 $first
lvm lvextend --driverloaded n -L +40M vg0/root $second
lvm lvcreate $options fast --type striped -i 2 -L 8M vg0
"""


@contextmanager
def opened(*images):
    with ExitStack() as ends:
        yield [ends.enter_context(image.open("r+b")).fileno() for image in images]


@pytest.fixture
def disks(tmp_path):
    """Two disks, of 80 MiB, the first with one partition."""
    images = [tmp_path / "first.img", tmp_path / "second.img"]
    for image in images:
        with image.open("wb") as file:
            file.truncate(DISK_BYTES)
    subprocess.run(["sfdisk", "-q", images[0]], input=ONE_PARTITION, text=True, check=True)
    return images


def test_partitions_and_disks_without_any_are_volumes(disks):
    with opened(*disks) as files:
        found = [(volume.name, volume.size_bytes, volume.pieces[0].range.start) for volume in volumes(files)]
    assert found == [("partition 1 of disk 1", 100000 * 512, MIB), ("disk 2", DISK_BYTES, 0)]


def test_what_is_copied_has_no_name(tmp_path, disks):
    with disks[0].open("r+b") as file:
        file.seek(MIB)
        file.write(b"begins here")
    before = set(tmp_path.iterdir())
    with opened(disks[0]) as files:
        (found,) = volumes(files)
        with found.copied(tmp_path) as copy:
            assert set(tmp_path.iterdir()) == before
            assert os.pread(copy, 13, 0) == b"begins here\0\0" and os.fstat(copy).st_size == found.size_bytes
            assert os.fstat(copy).st_blocks * 512 < MIB
            assert os.fstat(copy).st_mode & 0o777 == 0o600
        with found.copied(tmp_path, most_bytes=6) as copy:
            assert os.pread(copy, 13, 0) == b"begins".ljust(13, b"\0")
    with unnamed_file(tmp_path):
        assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize("how", ["root"] if os.geteuid() == 0 else [])
def test_logical_volumes_are_put_together_as_lvm_has_made_them(tmp_path, disks, how):
    require("running the tests", {"lvm": "lvm2"})
    subprocess.run(["sh", "-ec", MADE, "sh", *disks], check=True, capture_output=True)
    with disks[0].open("r+b") as first, disks[1].open("r+b") as second:
        for file, at, text in ((first, 2 * MIB, b"root"), (first, 22 * MIB, b"var"), (second, MIB, b"root goes on")):
            file.seek(at)
            file.write(text)
    with opened(*reversed(disks)) as files:
        root, var, fast = volumes(files)
        assert [found.name for found in (root, var, fast)] == [
            *("the logical volume vg0/root", "the logical volume vg0/var", "the logical volume vg0/fast"),
        ]
        with root.copied(tmp_path) as copy:
            assert os.fstat(copy).st_size == 60 * MIB
            assert os.pread(copy, 4, 0) == b"root" and os.pread(copy, 12, 20 * MIB) == b"root goes on"
        with var.copied(tmp_path) as copy:
            assert (os.fstat(copy).st_size, os.pread(copy, 3, 0)) == (8 * MIB, b"var")
        assert fast.unread == "LVM has it as striped, and linear ones are read here"
    with opened(disks[0]) as files:
        assert next(found.unread for found in volumes(files)) == "a part of it is on a disk that was not given"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("", "", "a part of it is on a disk that was not given"),
        ('"pv1"', '"pv0"', "LVM's metadata have more in it than there is on the disks"),
        ("segment2 {", "x { } segment2 {", "LVM's metadata have no 'start_extent'"),
    ],
)
def test_what_cannot_be_put_together_is_named(disks, old, new, said):
    disks[1].write_bytes(volume(TEXT.replace(old, new).encode())(0, MIB))
    with opened(disks[1]) as files:
        assert next(volumes(files)).unread == said


def test_extents_outside_of_their_disk_are_not_read(disks):
    text = TEXT.replace("extent_size = 8192", "extent_size = 8").replace('"pv1", 20', '"pv0", 200')
    disks[1].write_bytes(volume(text.encode())(0, MIB))
    with opened(disks[1]) as files:
        assert next(volumes(files)).unread == "LVM's metadata have a part of it outside of its disk"


def test_a_damaged_physical_volume_is_named(disks):
    disks[1].write_bytes(volume(TEXT.encode(), text_at=100)(0, MIB))
    with opened(disks[1]) as files:
        (found,) = volumes(files)
    assert (found.name, found.pieces) == ("disk 1", ()) and "outside their area" in found.unread
