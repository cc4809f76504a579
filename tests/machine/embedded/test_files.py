"""The tree of files: what each boot has, what a crash does to it, and the errors of files that are gone.

What the files show and take is in tests/kernel/files/test_sysfs.py, and, against real Linux,
in tests/real_linux/test_files.py.
"""

import errno
import os
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from fadump.abi.linux.crash_info import CrashHeader
from fadump.kernel.files.device_tree import BASE
from fadump.machine.channel import Save, Saved
from fadump.memory.ranges import Range
from tests.machine.embedded.bench import ALL
from tests.machine.embedded.files_bench import FADUMP, TRIGGER, file_tree

VMCORE = "/proc/vmcore"
RELEASE_MEM = f"{FADUMP}/release_mem"
PIECE_BYTES = 10_000_019
"""Which no page and no part of the file begins with."""


def fails(number):
    return pytest.raises(OSError, match=rf"^\[Errno {number}\]")


@pytest.mark.parametrize("platform", ALL)
def test_a_crash_leads_to_the_capture_boot_and_a_release_back_to_production(platform):
    with file_tree(platform) as tree:
        assert (tree.cat(f"{FADUMP}/registered"), tree.exists(VMCORE), tree.exists(RELEASE_MEM)) == (
            "1\n",
            False,
            False,
        )
        tree.crash()
        assert (tree.cat(f"{FADUMP}/registered"), tree.exists(VMCORE), tree.exists(RELEASE_MEM)) == ("0\n", True, True)
        assert tree.write(RELEASE_MEM, b"1\n") == 2
        assert (tree.exists(VMCORE), tree.exists(RELEASE_MEM)) == (False, True)
        assert tree.write(f"{FADUMP}/registered", b"1") == 1
        tree.crash()
        assert tree.exists(VMCORE)


def test_without_a_registration_a_crash_is_a_reboot():
    with file_tree() as tree:
        tree.write(f"{FADUMP}/registered", b"0")
        tree.crash()
        assert not tree.exists(VMCORE)
        assert (tree.cat(f"{FADUMP}/registered"), tree.machine.boot) == ("1\n", 2)


def test_the_trigger_takes_one_letter_and_behind_an_underscore_all():
    with file_tree() as tree:
        assert tree.write(TRIGGER, b"hc") == 2
        assert tree.machine.boot == 1
        assert tree.write(TRIGGER, b"_hc") == 3
        assert (tree.machine.boot, tree.exists(VMCORE)) == (2, True)
        assert tree.write(TRIGGER, b"b") == 1
        assert (tree.machine.boot, tree.exists(VMCORE)) == (3, True)  # a reset keeps the dump


def test_the_crash_is_on_the_cpu_that_was_asked_for():
    with file_tree(cpus=2) as tree:
        tree.crash()
        at = tree.firmware.preserved.crash_info
        header = CrashHeader.decode(tree.machine.memory.read(at, 0x400), 8)
        assert header.crashing_cpu == 1


def test_the_dump_is_read_where_it_is_as_it_would_be_saved():
    with file_tree(memory=(Range(0, 1 << 30), Range(3 << 30, 0xD000_0000))) as tree:
        tree.crash()
        size_bytes = tree.files.attributes(VMCORE).size_bytes
        opened = tree.files.open(VMCORE, reading=True, writing=False)
        os.truncate(tree.disk_fd, size_bytes)
        tree.session.ask(Save(), Saved)
        for at in range(0, size_bytes, PIECE_BYTES):
            assert opened.read(at, PIECE_BYTES) == os.pread(tree.disk_fd, PIECE_BYTES, at)
        assert opened.read(size_bytes, 10) == opened.read(size_bytes + 5, 10) == b""


def test_what_sysfs_and_proc_say_of_a_file_that_is_gone():
    with file_tree() as tree:
        old = [tree.files.open(path, reading=True, writing=False) for path in (f"{FADUMP}/registered", "/proc/cmdline")]
        tree.crash()
        vmcore = tree.files.open(VMCORE, reading=True, writing=False)
        assert vmcore.read(1, 3) == b"ELF"
        assert [opened.is_there for opened in (*old, vmcore)] == [False, False, True]
        tree.write(RELEASE_MEM, b"1")
        with fails(errno.ENODEV):
            old[0].read(0, 10)
        for opened in (old[1], vmcore):
            with fails(errno.EIO):
                opened.read(0, 10)
        assert vmcore.attributes.size_bytes > 1 << 20
        assert not vmcore.is_there


def test_a_command_line_can_have_any_bytes():
    words = b"x=\xff y=\xc3\xa9"
    with file_tree(cmdline=f"fadump=on {os.fsdecode(words)}") as tree:
        shown = tree.files.open("/proc/cmdline", reading=True, writing=False).read(0, 100)
    assert shown == b"fadump=on " + words + b"\n"


def test_files_are_used_as_they_are_made_for():
    with file_tree() as tree:
        for path, reading, writing in [(f"{FADUMP}/enabled", False, True), (f"{FADUMP}/enabled", True, True)]:
            with fails(errno.EACCES):
                tree.files.open(path, reading=reading, writing=writing)
        tree.crash()
        with fails(errno.EACCES):
            tree.cat(RELEASE_MEM)
        for path, number in [("/proc/cmdline", errno.EIO), ("/sys/kernel/debug/powerpc/fadump_region", errno.EINVAL)]:
            with fails(number):
                tree.write(path, b"1")
        with fails(errno.EIO):
            tree.cat(TRIGGER)
        with fails(errno.ENOENT):
            tree.cat("/proc/nothing")
        with fails(errno.ENOTDIR):
            tree.files.names("/proc/cmdline")
        with fails(errno.EINVAL):
            tree.files.target("/proc/cmdline")
        with fails(errno.ELOOP):
            tree.cat("/proc/device-tree")
        assert tree.write(RELEASE_MEM, b"") == 0


def test_the_directories_and_their_modes():
    with file_tree() as tree:
        assert tree.files.names("/") == ["proc", "sys"]
        assert tree.files.names("/sys/kernel/debug") == ["powerpc"]
        modes = {
            path: stat.S_IMODE(tree.files.attributes(path).mode) for path in ("/proc", "/sys/kernel/debug", FADUMP)
        }
        assert modes == {"/proc": 0o555, "/sys/kernel/debug": 0o700, FADUMP: 0o755}
        assert tree.files.target("/sys/kernel/fadump_enabled") == "fadump/enabled"


def test_the_device_tree_is_the_one_that_the_kernel_was_given():
    with file_tree(cmdline="fadump=on some words") as tree:
        assert tree.files.target("/proc/device-tree") == BASE
        assert tree.cat(f"{BASE}/chosen/bootargs") == "fadump=on some words\0"
        assert tree.cat(f"{BASE}/cpus/PowerPC,POWER9@0/name") == "PowerPC,POWER9\0"
        assert not tree.exists(f"{BASE}/rtas/ibm,kernel-dump")
        tree.crash()
        assert tree.files.attributes(f"{BASE}/rtas/ibm,kernel-dump").size_bytes > 40


def test_the_log_ends_where_linux_would_wait():
    with file_tree() as tree:
        log = tree.files.open("/proc/kmsg", reading=True, writing=False)
        assert b"fadump: Reserved" in log.read(0, 1 << 20)
        assert log.read(0, 100) == b""
        with fails(errno.EAGAIN):
            tree.files.open("/proc/kmsg", reading=True, writing=False, blocking=False).read(0, 100)


def test_a_file_read_in_pieces_is_one_moments():
    with file_tree() as tree:
        region = tree.files.open("/sys/kernel/debug/powerpc/fadump_region", reading=True, writing=False)
        whole = tree.cat("/sys/kernel/debug/powerpc/fadump_region").encode()
        first = region.read(0, 50)
        tree.write(f"{FADUMP}/bootargs_append", b"other words")
        assert first + region.read(50, 1 << 20) == whole
        assert b"other words" in region.read(0, 1 << 20)


def test_the_machines_end_is_said_once_and_everything_is_an_error_from_then_on():
    with file_tree() as tree:
        tree.machine.halt()
        for _again in range(2):
            with fails(errno.EIO):
                tree.write(f"{FADUMP}/registered", b"1")
        assert len(tree.failures) == 1 and "halted" in tree.failures[0]


def test_many_readers_and_writers_at_once():
    with file_tree() as tree:

        def use(number):
            tree.write(f"{FADUMP}/registered", b"01"[number % 2 :][:1])
            assert tree.cat(f"{FADUMP}/registered") in ("0\n", "1\n")
            if number % 10 == 5:
                tree.crash()
            return tree.cat("/proc/cmdline")

        def tolerant(number):
            try:
                return use(number)
            except OSError as error:  # a dump is active, or the boot has ended meanwhile
                assert error.errno in (errno.EPERM, errno.ENODEV, errno.EIO)
                return "fadump=on\n"

        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(tolerant, range(60))) == {"fadump=on\n", "fadump=on \n"}
        assert tree.failures == []
