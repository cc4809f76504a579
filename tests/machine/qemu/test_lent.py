"""Files on a guest's disk: where they lie, and that nothing of them stays."""

import os

import pytest

from fadump.errors import SetupError
from fadump.machine.qemu.lent import lent_on_disk

MIB = 1 << 20


@pytest.fixture
def disk():
    fd = os.memfd_create("disk")
    os.ftruncate(fd, 8 * MIB + 512)
    yield fd
    os.close(fd)


@pytest.fixture
def files(tmp_path):
    kernel, initrd = tmp_path / "kernel", tmp_path / "initrd"
    kernel.write_bytes(b"k" * (2 * MIB + 1))
    initrd.write_bytes(b"i" * 5)
    return kernel, initrd


def test_both_lie_at_the_end_each_at_a_whole_mib_and_are_gone_afterwards(disk, files):
    with lent_on_disk(disk, *files) as load:
        assert (load.kernel.start, load.initrd.start) == (5 * MIB, 8 * MIB)
        assert os.pread(disk, load.kernel.size_bytes, load.kernel.start) == files[0].read_bytes()
        assert os.pread(disk, load.initrd.size_bytes, load.initrd.start) == files[1].read_bytes()
    status = os.fstat(disk)
    assert (status.st_size, status.st_blocks) == (8 * MIB + 512, 0)


def test_nothing_stays_of_them_whatever_happens(disk, files):
    with pytest.raises(KeyError), lent_on_disk(disk, *files):
        raise KeyError
    assert os.fstat(disk).st_blocks == 0


def test_a_disk_that_is_too_small_is_one_sentence(disk, files):
    os.ftruncate(disk, 2 * MIB)
    with pytest.raises(SetupError, match=r"kernel does not fit on the guest's disk of 2097152 bytes"):
        lent_on_disk(disk, *files).__enter__()
    status = os.fstat(disk)
    assert (status.st_size, status.st_blocks) == (2 * MIB, 0)


def test_a_kernel_that_is_gone_is_one_sentence(disk, files):
    files[0].unlink()
    with pytest.raises(SetupError, match="kernel can't be read for the guest's crash kernel: No such file or dir"):
        lent_on_disk(disk, *files).__enter__()
    assert os.fstat(disk).st_blocks == 0
