"""A system's files that would fill this computer's disk are not copied there, and nothing is left of them."""

import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from fadump.systems.room import run_tool, run_within_room
from tests.systems.test_file_systems import BTRFS_BYTES, MIB, make

ROOM_MIB = 8
COPY_TO_A_SMALL_DISK = f"""
mount -t tmpfs -o size={ROOM_MIB}m tmpfs "$1" || exit 99
"$2" -c "$3" "$4" "$1"
ls -A "$1"
"""
COPY = """
import pathlib, sys
from fadump.errors import FadumpError
from fadump.systems.file_systems import copy_directory, file_systems
image, small = map(pathlib.Path, sys.argv[1:])
with image.open("rb") as file:
    for system in file_systems([file.fileno()], image.parent):
        try:
            copy_directory(system, "/var/crash", small / "out")
        except FadumpError as error:
            print(error, flush=True)
"""


@pytest.mark.parametrize("kind", ["ext4", "btrfs"])
def test_what_would_fill_the_disk_is_named_and_not_copied(tmp_path, root, kind):
    (root / "var/crash/202611291200/large").write_bytes(b"large" * (16 * MIB // 5))
    image = tmp_path / "disk.img"
    if kind == "ext4":
        make(image, root, partitioned=False)
    else:
        make_btrfs(image, root)
    (tmp_path / "small").mkdir()
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", COPY_TO_A_SMALL_DISK, "sh"]
    command += [tmp_path / "small", sys.executable, COPY, image]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(
        f"/var/crash of disk 1 would fill the disk of {tmp_path}/small, which has {ROOM_MIB} MiB free "
        "(its largest file is "
    )
    assert "202611291200/large, " in done.stdout
    assert done.stdout.count("\n") == 1 and not done.stderr


@pytest.mark.parametrize("run", [run_tool, partial(run_within_room, target=Path("out"), source="")])
def test_a_tool_ends_with_whoever_has_started_it(tmp_path, run):
    def ended(_number, _frame):
        raise EndedError

    before = signal.signal(signal.SIGALRM, ended)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        with Path("/dev/null").open() as file, pytest.raises(EndedError):
            run([sys.executable, "-c", TOUCH_LATE, str(tmp_path / "late")], file.fileno())
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert not (tmp_path / "late").exists()


TOUCH_LATE = "import pathlib, sys, time; time.sleep(20); pathlib.Path(sys.argv[1]).touch()"


class EndedError(Exception):
    """A signal has come."""


def make_btrfs(image, root):
    with image.open("wb") as file:
        file.truncate(BTRFS_BYTES)
    subprocess.run(["mkfs.btrfs", "-q", "-f", "--rootdir", root, image], check=True, capture_output=True)
