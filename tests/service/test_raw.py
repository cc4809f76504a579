"""A disk for one dump. Here it is a file; test_as_root.py has real block devices."""

import os
import stat
import subprocess

import pytest

from fadump.capture.options import SaveOptions
from fadump.capture.save import stream_dump
from fadump.linux.pages.page_class import DumpLevel
from fadump.linux.system import open_system
from fadump.service.crash import read_crash
from fadump.service.targets.contract import TargetError
from fadump.service.targets.raw import RawSettings, RawTarget
from fadump.vmcore.check import check_dump
from fadump.vmcore.dump import open_dump

OPTIONS = SaveOptions(levels=[DumpLevel(31)])
DISK_BYTES = 256 << 20


def nothing(_done, _total):
    pass


@pytest.fixture
def disk(tmp_path):
    path = tmp_path / "disk"
    path.touch()
    os.truncate(path, DISK_BYTES)
    return path


def raw(disk, **settings):
    return RawTarget(RawSettings(str(disk), **settings), stat.S_ISREG)


def save(target, vmcore, *, settled=True):
    with open_system(vmcore) as system:
        place = target.open(read_crash(system))
        stream_dump(system, place.fd, OPTIONS, files=place.files)
    return target.settle() if settled else None


def test_a_dump_is_on_the_disk_from_its_first_byte_on_found_and_proven(disk, vmcore):
    target = raw(disk)
    target.prepare()
    assert target.room() == DISK_BYTES
    with open_system(vmcore) as system:
        crash = read_crash(system)
        assert target.find(crash) is None
        assert save(target, vmcore).path == disk
        assert target.find(crash).where == str(disk)
    assert target.prove(nothing, complete=True) == "every page and checksum"
    target.close()
    with open_dump(disk) as dump:
        assert dump.flattened and check_dump(dump).whole


def test_without_its_first_bytes_which_are_written_last_nothing_is_a_dump(disk, vmcore):
    """The power fails before all is durable, where a whole dump of another crash was before."""
    target = raw(disk)
    target.prepare()
    save(target, vmcore)
    save(target, vmcore, settled=False)
    with open_system(vmcore) as system:
        assert target.find(read_crash(system)) is None
    with pytest.raises(TargetError, match="can't be read back"):
        target.prove(nothing, complete=True)
    target.close()


def test_a_file_system_is_overwritten_only_where_that_is_allowed(disk, vmcore):
    subprocess.run(["mkfs.ext4", "-q", disk], check=True)
    with pytest.raises(TargetError, match=f"^{disk} has ext4 on it: wipefs -a it, or allow it by overwrite = true"):
        raw(disk).prepare()
    target = raw(disk, overwrite=True)
    target.prepare()
    save(target, vmcore)
    assert target.prove(nothing, complete=True)
    target.close()


def test_what_is_no_disk_is_refused(tmp_path):
    with pytest.raises(TargetError, match="^/dev/null is no disk and no partition"):
        RawSettings("/dev/null").target(None).prepare()
    with pytest.raises(TargetError, match=r"^UUID=none is not there, after 0 seconds"):
        RawSettings("UUID=none", wait=0).target(None).prepare()
    with pytest.raises(TargetError, match=r"^/dev/none-such is not there"):
        RawSettings("/dev/none-such", wait=0).target(None).prepare()
