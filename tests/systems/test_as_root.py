"""File systems and volumes that only root can make or mount; conftest.py leaves them out for anybody else."""

import os
import subprocess
import sys

import pytest

from fadump.systems.file_systems import UnreadableError, copy_directory
from fadump.systems.volumes import volumes
from tests.systems.test_file_systems import XFS_BYTES, check_copy, copied, opened
from tests.systems.test_volumes import opened as opened_disks

MIB = 1 << 20
MOUNT = ["unshare", "--mount", "--", "sh", "-ec"]
MADE = """
first=$(losetup --find --show -o 1048576 --sizelimit 51200000 "$1"); second=$(losetup --find --show "$2")
trap 'losetup -d $first; losetup -d $second' EXIT
lvm() { command lvm "$@" --devices $first,$second; }
options="--driverloaded n -an -Zn -Wn -n"
lvm pvcreate $first $second; lvm vgcreate vg0 $first $second
lvm lvcreate $options root -L 20M vg0 $first
lvm lvcreate $options var -L 8M vg0 $first
lvm lvextend --driverloaded n -L +40M vg0/root $second
lvm lvcreate $options fast --type striped -i 2 -L 8M vg0
"""


def made(kind, image, script):
    """An image with this file system that a script has filled, mounted at /mnt; it needs root."""
    with image.open("wb") as file:
        file.truncate(XFS_BYTES)
    subprocess.run([f"mkfs.{kind}", "-q", image], check=True, capture_output=True)
    subprocess.run([*MOUNT, f'mount -o loop "$1" /mnt; cd /mnt; {script}', "sh", image], check=True)
    return image


def test_each_subvolume_of_a_btrfs_is_looked_into(tmp_path, root):
    script = f"btrfs subvolume create @ >&2; btrfs subvolume create @var >&2; cp -a {root}/var/crash @var; mkdir @/etc"
    image = made("btrfs", tmp_path / "disk.img", script)
    with opened(image) as systems:
        found = [copy_directory(system, "/crash", tmp_path / "out") for system in systems]
    assert found == [False, False, True]
    check_copy(tmp_path / "out")


def test_xfs_is_mounted_where_nobody_else_sees_it(tmp_path, root):
    image = made("xfs", tmp_path / "disk.img", f"cp -a {root}/var .")
    assert copied(image, tmp_path / "out")
    check_copy(tmp_path / "out")
    assert not copied(image, tmp_path / "none", "/var/none")


@pytest.mark.parametrize("kind", ["btrfs", "xfs"])
def test_a_huge_file_of_holes_takes_no_room(tmp_path, kind):
    huge = 1 << 42
    image = made(
        kind, tmp_path / "disk.img", f"mkdir -p var/crash; truncate -s {huge} var/crash/huge; echo end >>var/crash/huge"
    )
    assert copied(image, tmp_path / "out")
    copy = tmp_path / "out/huge"
    assert (copy.stat().st_size, copy.stat().st_blocks * 512 < MIB) == (huge + 4, True)
    with copy.open("rb") as file:
        file.seek(huge)
        assert file.read() == b"end\n"


def test_xfs_that_was_not_shut_down_has_its_journal_replayed(tmp_path, root):
    cut = tmp_path / "cut.img"
    save = f'cp -a {root}/var .; xfs_io -c "fsync" var/crash/now; xfs_io -x -c "shutdown -f" .; cd /; umount /mnt'
    made("xfs", tmp_path / "disk.img", f'{save}; cp --sparse=always "$1" {cut}')
    looked_at = subprocess.run(["xfs_repair", "-n", cut], capture_output=True, text=True, check=False)
    assert "valuable metadata changes in a log" in looked_at.stdout + looked_at.stderr
    assert copied(cut, tmp_path / "out")
    assert (tmp_path / "out/now").read_bytes() == b"first"


def test_a_link_in_an_xfs_does_not_lead_to_this_computers_files(tmp_path):
    image = made("xfs", tmp_path / "disk.img", "mkdir var; ln -s /etc var/crash")
    assert not copied(image, tmp_path / "out") and not (tmp_path / "out").exists()


def test_root_without_the_right_to_mount_is_told_so(tmp_path, root):
    image = made("xfs", tmp_path / "disk.img", f"cp -a {root}/var .")
    command = ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin", sys.executable, "-c", READ_ALONE]
    done = subprocess.run([*command, image], capture_output=True, text=True, check=False)
    assert done.stdout.startswith("disk 1 is xfs, which can't be mounted here: ") and not done.stderr


READ_ALONE = """
import pathlib, sys
from fadump.systems.file_systems import UnreadableError, copy_directory, file_systems
image = pathlib.Path(sys.argv[1])
with image.open() as file:
    for system in file_systems([file.fileno()], image.parent):
        try:
            copy_directory(system, "/var/crash", image.parent / "out")
        except UnreadableError as error:
            print(error)
"""


def test_xfs_that_cannot_be_mounted_is_one_sentence(tmp_path, root):
    image = made("xfs", tmp_path / "disk.img", f"cp -a {root}/var .")
    with image.open("r+b") as file:
        file.seek(100)  # sb_versionnum: no version that there is
        file.write(b"\xff\xff")
    with pytest.raises(UnreadableError, match=r"^disk 1 is xfs, which can't be mounted here: .* a kernel as new"):
        copied(image, tmp_path / "out")


def test_logical_volumes_are_put_together_as_lvm_has_made_them(tmp_path, disks):
    subprocess.run(
        ["sh", "-ec", MADE, "sh", *disks],
        check=True,
        capture_output=True,
        env=os.environ | {"LVM_SYSTEM_DIR": str(tmp_path / "lvm")},  # it keeps what it has made there, too
    )
    with disks[0].open("r+b") as first, disks[1].open("r+b") as second:
        for file, at, text in ((first, 2 * MIB, b"root"), (first, 22 * MIB, b"var"), (second, MIB, b"root goes on")):
            file.seek(at)
            file.write(text)
    with opened_disks(*reversed(disks)) as files:
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
    with opened_disks(disks[0]) as files:
        assert next(found.unread for found in volumes(files)) == "a part of it is on a disk that was not given"
