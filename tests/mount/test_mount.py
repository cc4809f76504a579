"""fadump mount: real system calls on the machine's files, and what is left when it ends."""

import errno
import filecmp
import json
import mmap
import os
import shlex
import signal
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import drgn
import pytest

from fadump.capture.destination import Destination
from fadump.capture.options import Format, SaveOptions
from fadump.capture.save import save_dump
from fadump.cli import main
from fadump.errors import MachineError
from fadump.linux.pages.page_class import DumpLevel
from fadump.linux.system import open_system
from fadump.memory.ranges import Range, RangeSet
from fadump.vmcore.check import check_dump, work_bytes
from fadump.vmcore.dump import open_dump
from tests.mount.mounted import Mounted, emptied, mounts
from tests.real_linux.fadump_command import COMMAND, END_SECONDS, wait_until_gone

REGISTERED = "/sys/kernel/fadump/registered"
RELEASE_MEM = "/sys/kernel/fadump/release_mem"
VMCORE = "/proc/vmcore"


@pytest.fixture
def directory(tmp_path):
    with emptied(tmp_path / "machine") as directory:
        yield directory


@pytest.fixture(scope="module")
def crashed(tmp_path_factory):
    """A machine in its capture boot, for tests that only read."""
    with emptied(tmp_path_factory.mktemp("crashed") / "machine") as directory, Mounted(directory) as machine:
        machine.crash()
        yield machine


def test_from_registered_to_production_again(directory):
    with Mounted(directory) as machine:
        assert machine.read(REGISTERED) == "1\n"
        machine.crash()
        assert machine.read(REGISTERED) == "0\n"
        assert machine.path(VMCORE).stat().st_size > 600 << 20
        assert machine.write(RELEASE_MEM, "1\n") == 2
        assert not machine.path(VMCORE).exists()
        assert machine.write(REGISTERED, "1") == 1
        machine.crash()
        assert machine.path(VMCORE).exists()


def test_the_holes_of_a_dump_are_where_memory_was_never_touched(crashed):
    with crashed.path(VMCORE).open("rb") as file:
        size_bytes = os.fstat(file.fileno()).st_size
        at, data_bytes = 0, 0
        while at < size_bytes:
            try:
                start = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError as error:
                assert error.errno == errno.ENXIO
                start = size_bytes
            assert not any(os.pread(file.fileno(), start - at, at))
            at = os.lseek(file.fileno(), start, os.SEEK_HOLE) if start < size_bytes else start
            data_bytes += at - start
        assert 4 << 20 < data_bytes < size_bytes // 4
        with pytest.raises(OSError, match="No such device or address"):
            os.lseek(file.fileno(), size_bytes, os.SEEK_DATA)


def test_a_dump_of_64_tib_costs_what_is_in_it(directory, tmp_path):
    with Mounted(directory, "--memory", "64T") as machine:
        machine.crash()
        with open_dump(machine.path(VMCORE)) as dump:
            assert dump.memory.size_bytes > 63 << 40
            assert work_bytes(dump) < 256 << 20
            assert check_dump(dump).whole
        options = SaveOptions(format=Format.ELF, registers=False, levels=(DumpLevel(0),))
        with open_system(machine.path(VMCORE)) as system, open_dump(machine.path(VMCORE)) as source:
            saved = save_dump(system, Destination.take(tmp_path / "saved", options), options)
            assert saved.size_bytes < 1 << 30
            with open_dump(tmp_path / "saved") as dump:
                assert dump.memory == source.memory
                assert not differing_data(dump, source)


def differing_data(dump, source):
    """Where two dumps differ, among what either has that isn't known to be zeros."""
    both = RangeSet(data for part in source.memory for one in (dump, source) for data in one.data_ranges(part))
    pieces = (Range(at, min(at + (1 << 20), part.end)) for part in both for at in range(part.start, part.end, 1 << 20))
    return [
        piece
        for piece in pieces
        if dump.read_physical(piece.start, piece.size_bytes) != source.read_physical(piece.start, piece.size_bytes)
    ]


def test_what_stat_and_readlink_say(crashed):
    vmcore = crashed.path(VMCORE).stat()
    assert (stat.filemode(vmcore.st_mode), vmcore.st_uid, vmcore.st_blocks) == ("-r--------", os.getuid(), 0)
    assert crashed.path("/sys/kernel/fadump_release_mem").readlink() == Path("fadump/release_mem")
    assert crashed.path("/proc/device-tree/rtas/ibm,kernel-dump").read_bytes()[:4] == b"\0\0\0\1"
    assert sorted(path.name for path in crashed.root.iterdir()) == ["proc", "sys"]


def test_nothing_can_be_made_or_removed(crashed):
    for number, action in [
        (errno.EACCES, lambda: crashed.path("/sys/new").write_text("")),
        (errno.EPERM, lambda: crashed.path("/proc/new").mkdir()),
        (errno.EPERM, lambda: crashed.path(VMCORE).unlink()),
        (errno.EPERM, lambda: crashed.path(VMCORE).rename(crashed.path("/proc/other"))),
        (errno.EACCES, lambda: crashed.path(RELEASE_MEM).read_text()),
        (errno.EINVAL, lambda: os.open(crashed.path(VMCORE), os.O_RDONLY | os.O_DIRECT)),
    ]:
        with pytest.raises(OSError, match=rf"^\[Errno {number}\]"):
            action()


def test_the_dump_is_the_same_by_cp_dd_and_mmap(crashed, tmp_path):
    vmcore = crashed.path(VMCORE)
    subprocess.run(["cp", vmcore, tmp_path / "cp"], check=True)
    subprocess.run(["dd", f"if={vmcore}", f"of={tmp_path / 'dd'}", "bs=1000003", "status=none"], check=True)
    assert filecmp.cmp(tmp_path / "cp", tmp_path / "dd", shallow=False)
    with vmcore.open("rb") as file, mmap.mmap(file.fileno(), 0, mmap.MAP_SHARED, mmap.PROT_READ) as mapped:
        with (tmp_path / "cp").open("rb") as copy:
            assert all(mapped[at : at + (8 << 20)] == copy.read(8 << 20) for at in range(0, len(mapped), 8 << 20))
        with pytest.raises(PermissionError):
            mmap.mmap(file.fileno(), 0, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)


def test_a_dump_that_was_open_when_it_was_released_is_read_no_more(directory):
    with Mounted(directory) as machine, ExitStack() as ends:
        machine.crash()
        first = ends.enter_context(machine.path(VMCORE).open("rb", buffering=0))
        assert len(os.pread(first.fileno(), 4096, 0)) == 4096
        machine.write(RELEASE_MEM, "1")
        with pytest.raises(OSError, match=rf"^\[Errno {errno.EIO}\]"):
            os.pread(first.fileno(), 4096, 0)
        machine.write(REGISTERED, "1")
        machine.crash()
        second = ends.enter_context(machine.path(VMCORE).open("rb", buffering=0))
        assert os.pread(second.fileno(), 4, 0) == b"\x7fELF"
        with pytest.raises(OSError, match=rf"^\[Errno {errno.EIO}\]"):
            os.pread(first.fileno(), 4096, 0)
        assert os.pread(second.fileno(), 4, 0) == b"\x7fELF"


def test_drgn_and_fadump_show_read_it_in_place(crashed):
    program = drgn.Program()
    program.set_core_dump(crashed.path(VMCORE))
    with open_dump([crashed.path(VMCORE)]) as dump:
        for address in (0x10_0000, 0x3FFF_0000):
            assert program.read(address, 4096, physical=True) == dump.read_physical(address, 4096)
    done = subprocess.run([*COMMAND, "show", "--json", str(crashed.path(VMCORE))], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_crash_that_nobody_registered_for_is_a_boot_without_a_dump(directory):
    with Mounted(directory) as machine:
        machine.write(REGISTERED, "0")
        machine.crash()
        assert (machine.read(REGISTERED), machine.path(VMCORE).exists()) == ("1\n", False)
        machine.crash()
        assert machine.path(VMCORE).exists()
        _status, stdout, _stderr = machine.end(signal.SIGTERM)
    assert stdout.count("reset: there is no dump, the first kernel boots again\n") == 1
    assert stdout.index("no dump") < stdout.index("capture kernel is entered")


def test_several_mounts_are_several_machines(tmp_path):
    with ExitStack() as ends:
        machines = [
            ends.enter_context(Mounted(ends.enter_context(emptied(tmp_path / name)), "--cmdline", name))
            for name in ("one", "two", "three")
        ]
        machines[1].crash()
        assert [machine.path(VMCORE).exists() for machine in machines] == [False, True, False]
        assert [machine.read("/proc/cmdline").split()[-1] for machine in machines] == ["one", "two", "three"]


def test_the_machine_is_the_one_that_was_asked_for(directory):
    options = ["--platform", "powernv", "--memory", "4G", "--cpus", "4", "--cmdline", "fadump=nocma crashkernel=1G"]
    with Mounted(directory, *options) as machine:
        assert machine.path("/proc/device-tree/ibm,opal/dump").is_dir()
        assert len(list(machine.path("/proc/device-tree/cpus").glob("PowerPC*"))) == 4
        assert machine.read("/proc/cmdline").endswith("fadump=on fadump=nocma crashkernel=1G\n")
        assert not machine.path("/sys/kernel/fadump/bootargs_append").exists()
        assert int(machine.read("/sys/kernel/fadump/mem_reserved")) > 1 << 30


def test_a_script_sees_a_firmware_that_fails(directory):
    with Mounted(directory, "--fault", "register=-1*2") as machine:
        assert (machine.read("/sys/kernel/fadump/enabled"), machine.read(REGISTERED)) == ("1\n", "0\n")
        assert "Hardware Error(-1)" in machine.read("/proc/kmsg")
        with pytest.raises(OSError, match=rf"^\[Errno {errno.EIO}\]"):
            machine.write(REGISTERED, "1")
        assert machine.write(REGISTERED, "1") == 1


def test_a_machine_that_has_come_to_its_end_is_an_exit_status_of_1(directory):
    with Mounted(directory, "--kernel-version", "6.1", "--fault", "unregister=busy") as machine:
        for _again in range(2):
            with pytest.raises(OSError, match=rf"^\[Errno {errno.EIO}\]"):
                machine.write(REGISTERED, "0")
        status, _stdout, stderr = machine.end(signal.SIGTERM)
    assert (status, stderr.count("\n")) == (1, 1)
    assert "the guest asks for ever" in stderr and "every file is EIO from now on: unmount it" in stderr


def test_readers_and_writers_at_once(directory):
    with Mounted(directory) as machine:

        def use(number):
            machine.write(REGISTERED, str(number % 2))
            return machine.read(REGISTERED), machine.read("/sys/kernel/debug/powerpc/fadump_region")[:5]

        with ThreadPoolExecutor(8) as pool:
            assert {seen for pair in pool.map(use, range(200)) for seen in pair} <= {"0\n", "1\n", "CPU :"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_unmounts(directory, number):
    with Mounted(directory) as machine:
        status, _stdout, stderr = machine.end(number)
    assert (status, stderr, str(directory) in mounts(), list(directory.iterdir())) == (0, "", False, [])


def test_a_terminal_that_is_gone_ends_it_but_behind_nohup(directory):
    with Mounted(directory) as machine:
        status, _stdout, stderr = machine.end(signal.SIGHUP)
    assert (status, stderr, str(directory) in mounts()) == (0, "", False)
    with Mounted(directory, before=["nohup"]) as machine:
        machine.process.send_signal(signal.SIGHUP)
        machine.crash()
        assert machine.path(VMCORE).exists()


def test_unmounting_ends_it(directory):
    with Mounted(directory) as machine:
        machine.crash()
        subprocess.run(["fusermount3", "-u", directory], check=True)
        stdout, stderr = machine.process.communicate(timeout=END_SECONDS)
    assert (machine.process.returncode, stderr) == (0, "")
    assert "reset, and the capture kernel is entered" in stdout


def test_killed_it_leaves_no_mount(directory):
    with Mounted(directory) as machine:
        children = machine.children()
        machine.end(signal.SIGKILL)
        wait_until_gone(children)
    assert str(directory) not in mounts()
    assert list(directory.iterdir()) == []


def test_a_dead_mount_is_cleared_at_the_next_start(directory):
    with Mounted(directory) as machine:
        (watcher,) = machine.children()
        os.kill(watcher, signal.SIGKILL)
        machine.end(signal.SIGKILL)
    with pytest.raises(OSError, match="not connected"):
        directory.stat()
    with Mounted(directory) as machine:
        assert machine.read(REGISTERED) == "1\n"
    assert str(directory) not in mounts()


def test_the_machine_goes_on_where_nobody_reads_what_it_says(directory):
    with Mounted(directory) as machine:
        machine.process.stdout.close()
        machine.crash()
        assert machine.path(VMCORE).exists()
        assert machine.write(RELEASE_MEM, "1") == 1
        machine.crash()
        _status, _stdout, stderr = machine.end(signal.SIGTERM)
    assert stderr == ""


def test_what_fails_after_it_was_mounted_is_no_second_json_object(directory, monkeypatch, capsys):
    def mount(*_arguments, on_mounted, **_others):
        on_mounted()
        raise MachineError("the machine has stopped")

    monkeypatch.setattr("fadump.cli.mount.mount", mount)
    assert main(["mount", str(directory), "--json"]) == 1
    said = capsys.readouterr()
    assert json.loads(said.out)["result"] == "mounted"
    assert said.err == "fadump: the machine has stopped\n"


def test_json_is_one_object_when_it_is_mounted(directory):
    with Mounted(directory, "--json") as machine:
        machine.crash()
        _status, stdout, stderr = machine.end(signal.SIGTERM)
    assert stdout == ""
    assert "crash" in stderr


def test_a_script_waits_until_it_is_mounted(directory):
    script = f"""
        read -r mounted < <({shlex.join(COMMAND)} mount --json --memory 1G {shlex.quote(str(directory))})
        echo "$mounted"
        cat {directory}/sys/kernel/fadump/registered
        echo c >{directory}/proc/sysrq-trigger
        cat {directory}/sys/kernel/fadump/registered
        fusermount3 -u {directory}
    """
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=END_SECONDS, check=False)
    mounted, *registered = done.stdout.splitlines()
    wait_until_gone([json.loads(mounted)["pid"]])
    assert (registered, str(directory) in mounts()) == (["1", "0"], False)


@pytest.mark.parametrize(("options", "sentence"), [
    (["--memory", "512M"], "--memory must be from 1 GiB to 64 TiB"),
    (["--fault", "second-crash"], "are for fadump run"),
    (["--fault", "no-put-back"], "goes with --machine qemu"),
])  # fmt: skip
def test_what_can_not_be_a_machine_is_said_in_one_sentence(directory, options, sentence):
    done = run_mount(directory, "--json", *options)
    assert done.returncode == 2
    assert sentence in json.loads(done.stdout)["error"]
    assert sentence in done.stderr and done.stderr.count("\n") == 1


def test_where_nothing_can_be_mounted_is_said_in_one_sentence(tmp_path):
    done = run_mount(tmp_path / "nothing")
    assert (done.returncode, done.stderr.count("\n")) == (125, 1)
    assert "nothing is not a directory: make it" in done.stderr


def test_a_second_machine_is_not_mounted_over_the_first(directory):
    with Mounted(directory) as machine:
        link = directory.with_name("link")
        link.symlink_to(directory)
        for where in (directory, link):
            done = run_mount(where)
            assert (done.returncode, done.stderr.count("\n")) == (125, 1)
            assert f"something is mounted at {where} already: unmount it" in done.stderr
            assert f"fusermount3 -u {where}" in done.stderr
        assert machine.read(REGISTERED) == "1\n"


def test_the_working_directory_can_be_mounted_on(directory):
    with Mounted(directory, cwd=directory, where="."):
        assert str(directory) in mounts()


def test_a_directory_whose_name_is_like_an_option_can_be_mounted_on(tmp_path):
    with emptied(tmp_path / "-d") as directory, Mounted(directory, cwd=tmp_path, where="-d"):
        assert str(directory) in mounts()


def test_no_fuse_is_said_in_one_sentence(directory):
    script = 'mount -t tmpfs tmpfs /dev && exec "$@"'
    hidden = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]
    done = run_mount(directory, before=hidden)
    assert (done.returncode, done.stderr.count("\n")) == (125, 1)
    assert (
        "/dev/fuse can't be opened (No such file or directory), so nothing can be mounted: modprobe fuse" in done.stderr
    )


def test_a_missing_python_package_is_said_in_one_sentence(directory):
    without = "import sys; sys.modules['mfusepy'] = None; from fadump.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", without, "mount", directory], capture_output=True, text=True, check=False
    )
    assert done.returncode == 125
    assert done.stderr == "fadump: a mount needs the Python package mfusepy: install fadump[fuse]\n"


def test_a_missing_libfuse_is_said_in_one_sentence(directory):
    done = run_mount(directory, before=["env", "FUSE_LIBRARY_PATH=/nothing/libfuse3.so"])
    assert (done.returncode, done.stderr.count("\n")) == (125, 1)
    assert "a mount needs libfuse 3" in done.stderr and "install what Debian has in fuse3" in done.stderr


def test_faults_are_listed(directory):
    assert "register=STATUS" in run_mount(directory, "--fault", "list").stdout


def run_mount(directory, *options, before=()):
    command = [*before, *COMMAND, "mount", str(directory), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=END_SECONDS, check=False)
