"""Volumes on disks: partitions, and logical volumes as LVM's own tools make them."""

import os
from contextlib import ExitStack, contextmanager

import pytest

from fadump.systems.volumes import unnamed_file, volumes
from tests.systems.conftest import DISK_BYTES
from tests.systems.test_lvm import TEXT, volume

MIB = 1 << 20


@contextmanager
def opened(*images):
    with ExitStack() as ends:
        yield [ends.enter_context(image.open("r+b")).fileno() for image in images]


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
