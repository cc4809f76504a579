"""The real command on real files: killed while it writes, a disk that is full, a pipe that nobody reads."""

import os
import signal
import subprocess
import sys

import pytest

from fadump.vmcore.check import check_dump
from fadump.vmcore.dump import open_dump
from tests.capture.contents import differing_pages

SAVE = [sys.executable, "-m", "fadump", "save"]
END_SECONDS = 120
ON_A_SMALL_DISK = r"""
mount -t tmpfs -o size=$1 tmpfs "$2" || exit 99
shift 2
"$@"
status=$?
ls "$OUT".* >&2
"$PYTHON" -m fadump check "$OUT.incomplete" >&2
echo "check $?" >&2
exit $status
"""


def is_right(path, source):
    """Whether a dump is whole; it has no page that isn't the source's."""
    with open_dump(path) as dump, open_dump(source) as original:
        assert differing_pages(dump, original) == []
        return check_dump(dump).whole


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("size_bytes", [1, 1 << 20, 8 << 20])
def test_a_process_that_is_ended_leaves_what_can_be_gone_on_with(vmcore, tmp_path, number, size_bytes):
    out, incomplete = tmp_path / "out", tmp_path / "out.incomplete"
    command = [*SAVE, str(vmcore), str(out), "--compress", "none", "--threads", "1"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            try:
                if incomplete.stat().st_size >= size_bytes:
                    process.send_signal(number)
                    break
            except FileNotFoundError:
                continue
        said = process.communicate(timeout=END_SECONDS)[1]
    assert "Traceback" not in said
    assert all(path.stat().st_mode & 0o077 == 0 for path in tmp_path.iterdir())
    if not out.exists():
        assert process.returncode != 0
        if number is signal.SIGTERM:
            assert f"go on from {incomplete} with --continue, or remove it" in said
        subprocess.run([*command, "--continue"], check=True, capture_output=True)
    assert is_right(out, vmcore)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "out-dmesg.txt"]


def on_a_small_disk(vmcore, tmp_path, size, *options):
    """Save onto a disk that is gone afterwards; what was left on it is looked at before."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", ON_A_SMALL_DISK, "sh", size, str(disk)]
    command += [*SAVE, str(vmcore), str(disk / "out"), *options]
    environment = os.environ | {"OUT": str(disk / "out"), "PYTHON": sys.executable}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=END_SECONDS, check=False)
    return done.returncode, done.stderr


def test_a_full_disk_is_told_in_a_sentence_and_leaves_what_says_so(vmcore, tmp_path):
    status, said = on_a_small_disk(vmcore, tmp_path, "6m", "--compress", "none")
    assert status == 1
    (sentence,) = (line for line in said.splitlines() if "No space left on device" in line)
    assert "make room and go on with --continue, or remove it" in sentence
    assert "check 1" in said and "incomplete" in said and "Traceback" not in said


def test_a_disk_without_room_for_a_file_is_a_failure(vmcore, tmp_path):
    status, said = on_a_small_disk(vmcore, tmp_path, "6m,nr_inodes=1")
    assert status == 1
    assert f"can't make {tmp_path}/disk/out.incomplete: No space left on device: name a file elsewhere" in said


def test_a_full_disk_still_takes_the_next_level(vmcore, tmp_path):
    status, said = on_a_small_disk(vmcore, tmp_path, "14m", "--compress", "none", "--level", "0,31")
    assert (status, "No space left" in said) == (0, False)


def test_a_pipe_that_nobody_reads_any_more(vmcore):
    with subprocess.Popen(
        [*SAVE, str(vmcore), "-"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=False
    ) as process:
        process.stdout.read(1 << 16)
        process.stdout.close()
        said = process.stderr.read().decode()
        status = process.wait(END_SECONDS)
    assert status == 1
    assert "can't write the stream, which says that it broke off: Broken pipe" in said and "Traceback" not in said
