"""Disk images of a machine: their format by qemu-img's own words, and that a snapshot leaves them as they are."""

import bz2
import gzip
import hashlib
import io
import lzma
import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest
import zstandard

from fadump.errors import SetupError, UsageError
from fadump.kit.packages import require
from fadump.machine.qemu.config import DiskFormat
from fadump.systems.disks import open_drives

MIB = 1 << 20


@pytest.fixture(autouse=True, scope="module")
def qemu_img():
    require("running the tests", {"qemu-img": "qemu-utils"})


def make(path, image_format):
    subprocess.run(["qemu-img", "create", "-q", "-f", image_format, path, str(MIB)], check=True)
    return path


def write(drive, pattern):
    """Write to a drive as QEMU does."""
    command = ["qemu-io", "-f", drive.format, "-c", f"write -P {pattern} 0 4096", drive.file]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, pass_fds=[] if drive.fd is None else [drive.fd])


@pytest.mark.parametrize("image_format", DiskFormat)
def test_an_image_is_what_qemu_img_made(tmp_path, image_format):
    path = make(tmp_path / "disk", image_format)
    with open_drives([path], snapshot=False) as drives:
        assert [(drive.file, drive.format) for drive in drives] == [(str(path), image_format)]
        write(drives[0], 7)
    shown = subprocess.run(
        ["qemu-io", "-f", image_format, "-c", "read -P 7 0 4096", path], check=True, capture_output=True, text=True
    )
    assert "failed" not in shown.stdout


@pytest.mark.parametrize("image_format", DiskFormat)
def test_a_snapshot_takes_writes_and_leaves_the_image_and_no_file(tmp_path, image_format, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/qemu-img").write_text(f"""#!/bin/sh
ls -A {tmp_path}/scratch >{tmp_path}/names
exec {shutil.which("qemu-img")} "$@"
""")
    (tmp_path / "bin/qemu-img").chmod(0o755)
    path = make(tmp_path / "disk", image_format)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    path.chmod(0o400)
    before = hashlib.sha256(path.read_bytes()).digest()
    with open_drives([path], snapshot=True) as (drive,):
        assert (tmp_path / "names").read_text() == ""
        assert not list((tmp_path / "scratch").iterdir())
        assert os.fstat(drive.fd).st_mode & 0o777 == 0o600
        write(drive, 7)
        command = ["qemu-io", "-f", "qcow2", "-c", "read -P 7 0 4096", drive.file]
        shown = subprocess.run(command, check=True, capture_output=True, text=True, pass_fds=[drive.fd])
        assert "failed" not in shown.stdout
    assert hashlib.sha256(path.read_bytes()).digest() == before
    assert not list((tmp_path / "scratch").iterdir())


def test_an_image_that_is_not_there_is_named(tmp_path):
    for path, said in [(tmp_path / "none", "No such file"), (tmp_path, "is a directory")]:
        with pytest.raises(SetupError, match=said) as raised, open_drives([path], snapshot=False):
            pass
        assert str(path) in str(raised.value)


def zipped(content):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("disk.img", content)
    return packed.getvalue()


@pytest.mark.parametrize(
    ("packer", "pack"),
    [
        ("gzip", gzip.compress),
        ("bzip2", bz2.compress),
        ("xz", lzma.compress),
        ("zstd", zstandard.compress),
        ("zip", zipped),
    ],
)
def test_a_packed_image_is_refused_with_what_packed_it(tmp_path, packer, pack):
    packed = tmp_path / "disk"
    packed.write_bytes(pack(bytes(MIB)))
    for snapshot in (True, False):
        with pytest.raises(UsageError, match=f"--disk {packed} is packed by {packer}: unpack it"):
            open_drives([packed], snapshot=snapshot).__enter__()


@pytest.mark.parametrize("image_format", ["vmdk", "vhdx"])
def test_an_image_of_another_format_is_refused_with_what_converts_it(tmp_path, image_format):
    path = tmp_path / "disk"
    subprocess.run(["qemu-img", "create", "-q", "-f", image_format, path, "8M"], check=True)
    with pytest.raises(UsageError, match=f"is a {image_format} image: .*'(qemu-img convert .*)'") as refused:
        open_drives([path], snapshot=False).__enter__()
    convert = str(refused.value).split("'")[1].replace("disk.qcow2", str(tmp_path / "converted"))
    subprocess.run(convert.split(), check=True)
    with open_drives([tmp_path / "converted"], snapshot=False) as (drive,):
        assert drive.format is DiskFormat.QCOW2


@pytest.mark.parametrize("content", [b"", b"no disk\n", bytes(511)])
def test_a_file_without_a_whole_sector_is_no_disk(tmp_path, content):
    (tmp_path / "disk").write_bytes(content)
    with pytest.raises(UsageError, match="shorter than a disk's first sector"):
        open_drives([tmp_path / "disk"], snapshot=True).__enter__()


@pytest.mark.parametrize("name", ["nbd:disk", "json:{disk", "a,b=c", "a b"])
@pytest.mark.parametrize("snapshot", [False, True])
def test_an_image_is_a_file_whatever_its_name(tmp_path, monkeypatch, name, snapshot):
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "disk", DiskFormat.RAW).rename(name)
    with open_drives([Path(name)], snapshot=snapshot) as (drive,):
        write(drive, 7)
    assert (Path(name).read_bytes()[0] == 7) is not snapshot


def test_an_image_whose_backing_files_have_no_end_is_refused(tmp_path):
    """qemu-img would open one after the other until it has no memory."""
    images = [make(tmp_path / name, DiskFormat.QCOW2) for name in ("first", "second")]
    for image, backing in (images, reversed(images)):
        command = ["qemu-img", "rebase", "-u", "-f", "qcow2", "-F", "qcow2", "-b", backing, image]
        subprocess.run(command, check=True)
    for image in images:
        with pytest.raises(SetupError, match="creates an infinite loop"), open_drives([image], snapshot=True):
            pytest.fail("it was opened")
