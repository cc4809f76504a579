"""A capture from the dump to production again: a real command's work, on the files of a modelled machine."""

import errno
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from fadump.capture.options import Format
from fadump.capture.packers import Compression
from fadump.errors import SetupError
from fadump.service.capture import capture
from fadump.service.config import Config, Priority, SaveSettings
from fadump.service.result import Result
from fadump.service.targets.directory import DirectorySettings, DirectoryTarget
from fadump.vmcore.check import check_dump
from fadump.vmcore.dump import open_dump
from tests.mount.mounted import Mounted, emptied
from tests.real_linux.fadump_command import COMMAND, END_SECONDS
from tests.service.conftest import root_of
from tests.service.spoiling import Spoiling
from tests.small_disk import run_on_a_small_disk


@pytest.fixture
def crash_directory(tmp_path):
    return tmp_path / "crash"


FAST = SaveSettings(priority=Priority.NORMAL)


def config(*directories, save=FAST, **settings):
    return Config(save=save, targets=tuple(map(DirectorySettings, directories)), **settings)


def dumps(directory):
    """The directories that are whole, and those that aren't."""
    whole = sorted(path.parent.name for path in directory.glob("*/vmcore"))
    return whole, sorted(path.parent.name for path in directory.glob("*/vmcore.incomplete"))


def is_whole(path):
    with open_dump(path) as dump:
        return check_dump(dump).whole


def test_a_crash_is_saved_proven_released_and_registered_without_a_reboot(machine, root, crash_directory):
    assert "Linux version" in machine.read("/proc/kmsg")
    captured = capture(root, config(crash_directory))
    assert (captured.result, captured.released, captured.registered) == (Result.SAVED, True, True)
    assert (captured.error, captured.already, captured.attempts) == (None, False, [])
    assert captured.proof == "every page and checksum"
    assert is_whole(Path(captured.where))
    assert not machine.path("/proc/vmcore").exists()
    assert machine.read("/sys/kernel/fadump/registered") == "1\n"
    log = machine.read("/proc/kmsg")
    assert "fadump: freeing reserved memory" in log and "Linux version" not in log


def test_the_next_crash_is_saved_beside_the_last_one(machine, root, crash_directory):
    first = capture(root, config(crash_directory))
    machine.crash()
    second = capture(root, config(crash_directory))
    assert first.crash.identity != second.crash.identity and second.registered
    assert len(dumps(crash_directory)[0]) == 2
    assert all(is_whole(captured.where) for captured in (first, second))


def test_without_a_dump_there_is_nothing_to_do(root, crash_directory, tmp_path):
    nothing = replace(root, proc=tmp_path)
    assert capture(nothing, config(crash_directory)).result is Result.NOTHING
    assert not crash_directory.exists()


@pytest.mark.parametrize(
    ("compress", "format_"), [("zlib", "kdump"), ("snappy", "kdump"), ("none", "kdump"), ("zstd", "elf")]
)
def test_every_format_is_proven(vmcore, root, crash_directory, tmp_path, compress, format_):
    save = replace(FAST, compress=Compression(compress), format=Format(format_), threads=2)
    captured = capture(replace(root, proc=tmp_path), config(crash_directory, save=save), vmcore)
    assert (captured.result, captured.proof) == (Result.SAVED, "every page and checksum")
    with open_dump(captured.where) as dump:
        assert dump.kind == format_


KILLED_AT = """
import os, sys
from pathlib import Path
from fadump.capture.files import HostFiles
from fadump.service.capture import capture
from fadump.service.config import Config, Priority, SaveSettings
from fadump.service.root import Root
from fadump.service.targets.directory import DirectorySettings

proc, sys_, run, crash = map(Path, sys.argv[1:5])
left = int(sys.argv[5])


def dying(method):
    def call(*arguments):
        global left
        left -= 1
        if left < 0:
            os._exit(9)
        return method(*arguments)

    return call


for name in ("open", "pwrite", "write", "fsync", "rename", "unlink", "fsync_directory"):
    setattr(HostFiles, name, dying(getattr(HostFiles, name)))
config = Config(save=SaveSettings(priority=Priority.NORMAL), targets=(DirectorySettings(crash),))
captured = capture(Root(proc, sys_, run, run), config)
print(captured.released, left)
"""


def test_a_capture_killed_at_any_operation_loses_nothing_and_leaves_nothing_half_that_looks_whole(
    machine, root, crash_directory
):
    """Killed before every so many operations on the disk, up to the last; each attempt finds what the last has left."""
    words = [sys.executable, "-c", KILLED_AT, *map(str, (root.proc, root.sys, root.run, crash_directory))]
    operations, killed = 0, 0
    while machine.path("/proc/vmcore").exists():
        done = subprocess.run([*words, str(operations)], capture_output=True, text=True, check=False)
        assert done.returncode in (0, 9), done.stderr
        killed += done.returncode == 9
        if done.returncode == 9:
            assert machine.path("/proc/vmcore").exists()
        assert all(is_whole(path) for path in crash_directory.glob("*/vmcore"))
        operations += 1 + operations // 3
    assert killed >= 5 and done.stdout.startswith("True ")
    assert len(dumps(crash_directory)[0]) == 1 and dumps(crash_directory)[1] == []


def test_nothing_is_released_before_the_dump_is_proven(machine, root, crash_directory):
    captured = capture(root, Config(save=FAST, targets=(Spoiling(crash_directory),)))
    assert captured.result is Result.FAILED and not captured.released
    assert "not what was written" in captured.attempts[0].error
    assert captured.error.startswith("the dump is not saved, and nothing is released: ")
    assert machine.path("/proc/vmcore").exists() and machine.read("/sys/kernel/fadump/registered") == "0\n"


@dataclass(frozen=True)
class FullByThen:
    """A directory on a disk that the dump has filled."""

    path: Path

    def target(self, root):
        return FullByThenTarget(self.path)


class FullByThenTarget(DirectoryTarget):
    proven = False

    def prove(self, tell, *, complete):
        self.proven = True
        return super().prove(tell, complete=complete)

    def add_text(self, name, text):
        if self.proven:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().add_text(name, text)


def test_a_proven_dump_is_released_though_nothing_more_can_be_written(machine, root, crash_directory):
    captured = capture(root, Config(save=FAST, targets=(FullByThen(crash_directory),)))
    assert captured.released and captured.error is None and is_whole(captured.where)
    assert captured.remarks == ["fadump.json doesn't say that the dump is proven: No space left on device"]


def test_a_dump_named_by_hand_is_saved_and_nothing_is_released(machine, root, crash_directory, tmp_path):
    captured = capture(replace(root, proc=tmp_path), config(crash_directory), machine.path("/proc/vmcore"))
    assert captured.result is Result.SAVED and not captured.released
    assert machine.path("/proc/vmcore").exists() and not captured.remarks


def test_a_dump_that_is_there_already_is_recognised_and_released(machine, root, crash_directory, tmp_path):
    """As after a power cut between the two."""
    saved = capture(replace(root, proc=tmp_path), config(crash_directory), machine.path("/proc/vmcore"))
    before = Path(saved.where).stat()
    captured = capture(root, config(crash_directory))
    assert captured.already and captured.where == saved.where and captured.released and captured.registered
    assert Path(saved.where).stat().st_mtime_ns == before.st_mtime_ns
    assert len(dumps(crash_directory)[0]) == 1


def test_a_dump_that_is_there_and_spoilt_is_saved_anew(machine, root, crash_directory, tmp_path):
    saved = capture(replace(root, proc=tmp_path), config(crash_directory), machine.path("/proc/vmcore"))
    os.truncate(saved.where, 100_000)
    captured = capture(root, config(crash_directory))
    assert not captured.already and captured.where == saved.where and captured.released
    assert is_whole(saved.where)


def test_two_captures_at_once_are_refused_in_a_sentence(root, crash_directory):
    with root.lock.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(SetupError, match=r"^another fadump capture is running"):
            capture(root, config(crash_directory))
    assert not crash_directory.exists()


def test_so_are_two_of_a_dump_that_is_named_by_hand(root, crash_directory, vmcore, tmp_path):
    with vmcore.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(SetupError, match=rf"^another fadump capture is running, as {vmcore} says: wait until"):
            capture(replace(root, proc=tmp_path), config(crash_directory), vmcore)
    assert not crash_directory.exists()


def test_two_captures_of_a_dump_named_by_hand_do_not_write_to_the_same_file(root, vmcore, crash_directory, tmp_path):
    by_hand, settings = replace(root, proc=tmp_path), config(crash_directory)
    saved = Path(capture(by_hand, settings, vmcore).where)
    with saved.with_name("vmcore.incomplete").open("w") as being_written:
        saved.unlink()
        fcntl.flock(being_written, fcntl.LOCK_EX)
        captured = capture(by_hand, settings, vmcore)
    assert captured.attempts[0].error == f"another process is writing {saved}.incomplete: wait until it is done"


def test_a_kdump_kernels_dump_is_saved_and_a_reboot_advised(root, vmcore, crash_directory, tmp_path):
    kdump = replace(root, proc=vmcore.parent, sys=tmp_path / "sys")
    captured = capture(kdump, config(crash_directory))
    assert captured.result is Result.SAVED and not captured.released
    assert "reboot" in captured.remarks[0]


def written_bytes(directory):
    return sum(path.stat().st_blocks for path in directory.glob("*/vmcore.incomplete")) * 512


def capture_command(machine, file, *words):
    return [*COMMAND, "capture", "--config", str(file), "--vmcore", str(machine.path("/proc/vmcore")), *words]


def test_what_a_signal_has_interrupted_is_begun_anew(machine, root, crash_directory, tmp_path):
    (tmp_path / "config").write_text(f'[save]\nlevel = 0\n[[target]]\ntype = "directory"\npath = "{crash_directory}"\n')
    command = capture_command(machine, tmp_path / "config", "--json")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while not written_bytes(crash_directory) and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        told, _ = process.communicate(timeout=END_SECONDS)
    assert (process.returncode, json.loads(told)["error"]) == (143, "ended by SIGTERM")
    whole, incomplete = dumps(crash_directory)
    assert not whole and len(incomplete) == 1 and machine.path("/proc/vmcore").exists()
    captured = capture(root, config(crash_directory))
    assert captured.released and dumps(crash_directory) == (incomplete, [])
    assert is_whole(captured.where)


def anonymous_bytes(process):
    """What a process has in memory of its own; 0: it has ended."""
    try:
        text = Path(f"/proc/{process.pid}/status").read_text()
    except OSError:
        return 0
    return sum(int(kb) << 10 for kb in re.findall(r"^RssAnon:\s*(\d+) kB$", text, re.MULTILINE))


def test_the_memory_that_a_capture_takes_does_not_grow_with_the_dump(machine, crash_directory, tmp_path):
    """A machine has 1 GiB. The dump's pages that are in memory are the file's, which is none of it."""
    (tmp_path / "config").write_text(
        f'[save]\nlevel = 0\nthreads = 4\n[[target]]\ntype = "directory"\npath = "{crash_directory}"\n'
    )
    command = capture_command(machine, tmp_path / "config")
    most = 0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            most = max(most, anonymous_bytes(process))
            time.sleep(0.01)
    assert process.returncode == 0 and 10 << 20 < most < 128 << 20


def test_a_full_disk_leaves_the_dump_where_it_is(machine, tmp_path):
    directory = tmp_path / "disk"
    directory.mkdir()
    (tmp_path / "config").write_text(f'[[target]]\ntype = "directory"\npath = "{directory}"\n')
    words = capture_command(machine, tmp_path / "config")[len(COMMAND) :]
    status, told, left = run_on_a_small_disk(directory, "size=2m", *words)
    assert (status, told["result"], told["released"]) == (1, "failed", False)
    assert told["error"] == f"the dump is not saved, and nothing is released: {directory}: No space left on device"
    assert any(name.endswith("/vmcore.incomplete") for name in left)
    assert machine.path("/proc/vmcore").exists()


def test_a_configuration_that_is_wrong_is_said_before_anything(tmp_path, vmcore):
    (tmp_path / "config").write_text("[save]\nlevel = 99\n")
    command = [*COMMAND, "capture", "--config", tmp_path / "config", "--vmcore", vmcore, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "save.level is 99: allowed is" in json.loads(done.stdout)["error"]


def test_a_kernel_that_cannot_register_again_is_said(tmp_path, crash_directory):
    with emptied(tmp_path / "machine") as directory, Mounted(directory, *REFUSING) as machine:
        machine.crash()
        captured = capture(root_of(machine, tmp_path), config(crash_directory))
    assert (captured.result, captured.released, captured.registered) == (Result.SAVED, True, False)
    assert captured.error.startswith("the kernel can't register again, so that the next crash would be lost: ")


REFUSING = ["--fault", "register=served*1,hardware-error"]


IN_THE_CAPTURE_BOOT = """
mount -t tmpfs tmpfs /run
echo c >/proc/sysrq-trigger
"$@" capture --config {config} --json || exit
cat /sys/kernel/fadump/registered
! ls /proc/vmcore 2>&1
"$@" capture --config {config}
echo c >/proc/sysrq-trigger
"$@" capture --config {config} --json
"""


def test_the_command_takes_one_crash_after_the_other_at_the_systems_own_paths(tmp_path, crash_directory):
    (tmp_path / "config").write_text(f'[keep]\ndumps = 1\n[[target]]\ntype = "directory"\npath = "{crash_directory}"\n')
    script = IN_THE_CAPTURE_BOOT.format(config=tmp_path / "config")
    command = [*COMMAND, "shell", "--memory", "1G", "--", "sh", "-c", script, "sh", *COMMAND]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    first, registered, missing, nothing, second = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in (first, second)]
    assert [(end["result"], end["released"], end["registered"]) for end in told] == [("saved", True, True)] * 2
    assert (registered, nothing) == ("1", "there is no dump to save") and "No such file" in missing
    assert told[1]["removed"] == [str(Path(told[0]["where"]).parent)]
    assert dumps(crash_directory) == ([Path(told[1]["where"]).parent.name], []) and is_whole(told[1]["where"])


def test_opals_own_core_is_saved_beside_the_dump_and_released(tmp_path, crash_directory):
    with (
        emptied(tmp_path / "machine") as directory,
        Mounted(directory, "--platform", "powernv", "--memory", "4G") as it,
    ):
        it.crash()
        core = it.path("/sys/firmware/opal/mpipl/core").read_bytes()
        captured = capture(root_of(it, tmp_path), config(crash_directory))
        assert captured.released and captured.registered and captured.error is None
        assert not it.path("/sys/firmware/opal/mpipl/core").exists()
    assert Path(captured.where).with_name("opalcore").read_bytes() == core
    assert Path(captured.where).with_name("opalcore").stat().st_mode & 0o777 == 0o600
