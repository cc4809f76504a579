"""Files of ext2, ext3 and ext4 as their copies are."""

import os
import subprocess

import pytest

from tests.systems.test_file_systems import copied

MIB = 1 << 20
HUGE = 1 << 40
KINDS = [("ext2",), ("ext3",), ("ext4",), ("ext4", "-O", "inline_data"), ("ext4", "-b", "4096", "-O", "bigalloc")]


def make(image, root, kind, *options):
    with image.open("wb") as file:
        file.truncate(64 * MIB)
    subprocess.run(["mke2fs", "-q", "-t", kind, *options, "-d", root, image], check=True, capture_output=True)
    return image


@pytest.mark.parametrize("kind", KINDS, ids=" ".join)
def test_a_copy_is_what_was_written(tmp_path, root, kind):
    names = ["sparse", "odd\nname\r", "tiny", "empty", "sub/scattered"]
    (root / "var/crash/sub").mkdir()
    sparse, odd, tiny, empty, scattered = (root / "var/crash" / name for name in names)
    sparse.write_bytes(b"head")
    with sparse.open("r+b") as file:
        file.seek(3 * MIB + 100)
        file.write(b"middle" * 5000)
        file.seek(5 * MIB)
        file.write(b"end")
    odd.write_bytes(os.urandom(2 * MIB + 1))
    tiny.write_bytes(b"tiny")
    empty.touch()
    with scattered.open("wb") as file:
        for number in range(200):
            file.seek(number * 64 << 10)
            file.write(b"%d" % number)
    os.utime(tiny, (0, 1_000_000_000))
    image = make(tmp_path / "disk.img", root, *kind)
    if kind[0] == "ext4":  # the bit for the times from 2106 on
        request = "set_inode_field /var/crash/tiny mtime_extra 1"
        subprocess.run(["debugfs", "-w", "-R", request, image], check=True, capture_output=True)
    assert copied(image, tmp_path / "out")
    for name in names:
        assert (tmp_path / "out" / name).read_bytes() == (root / "var/crash" / name).read_bytes()
    assert (tmp_path / "out/tiny").stat().st_mtime == 1_000_000_000 + (1 << 32 if kind[0] == "ext4" else 0)


def test_space_that_was_only_reserved_is_a_hole(tmp_path, root):
    (root / "var/crash/reserved").write_bytes(b"\1" * MIB)
    image = make(tmp_path / "disk.img", root, "ext4")
    request = "fallocate /var/crash/reserved 1024 9000"
    subprocess.run(["debugfs", "-w", "-R", request, image], check=True, capture_output=True)
    size = "sif /var/crash/reserved size 5000000"
    subprocess.run(["debugfs", "-w", "-R", size, image], check=True, capture_output=True)
    assert copied(image, tmp_path / "out")
    assert (tmp_path / "out/reserved").read_bytes() == (b"\1" * MIB).ljust(5_000_000, b"\0")
    assert (tmp_path / "out/reserved").stat().st_blocks * 512 <= MIB


@pytest.mark.parametrize("kind", ["ext2", "ext4"])
def test_a_huge_file_of_holes_takes_no_room(tmp_path, root, kind):
    size = HUGE if kind == "ext4" else 1 << 33
    os.truncate(root / "var/crash/now", size)
    image = make(tmp_path / "disk.img", root, kind)
    assert copied(image, tmp_path / "out")
    copy = (tmp_path / "out/now").stat()
    assert (copy.st_size, copy.st_blocks * 512 < MIB) == (size, True)
    with (tmp_path / "out/now").open("rb") as file:
        assert file.read(10) == b"first\0\0\0\0\0"
