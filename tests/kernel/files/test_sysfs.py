"""The kernel's files on their own; tests/real_linux/test_files.py holds them against real Linux."""

from contextlib import contextmanager
from dataclasses import replace

import pytest

from fadump.abi.platform import Platform
from fadump.abi.powernv.opal import OpalStatus
from fadump.kernel.calls import Errno
from fadump.kernel.files.sysfs import FADUMP, REGION, FileSystem, KernelFile, KernelLink
from fadump.kernel.model import KernelConfig, KernelModel
from fadump.kernel.traits import LINUX_6_1, LINUX_6_12, LINUX_7_2
from fadump.memory.ranges import Range
from tests.kernel.running import GIB, described_tree, guest_memory, run

NAMES = {"enabled": 0o444, "registered": 0o644, "mem_reserved": 0o444, "hotplug_ready": 0o444}
BUSY, HARDWARE, PARAMETER, ALREADY = -2, -1, -3, -9


class Booted:
    """A first boot; every firmware call is answered with ``status``."""

    def __init__(self, memory, platform, cmdline, traits, status=0):
        self.memory = memory
        self.said = []
        self.kernel = KernelModel(KernelConfig(traits), self.said.append)
        run(self.kernel.boot(described_tree(platform, cmdline), memory), memory, status)

    def modes(self):
        start = f"{FADUMP}/"
        files = self.kernel.files().items()
        return {path.removeprefix(start): file.mode for path, file in files if path.startswith(start)}

    def show(self, name):
        return self.kernel.files()[f"{FADUMP}/{name}"].show().decode()

    def store(self, name, data, status=0):
        return run(self.kernel.files()[f"{FADUMP}/{name}"].store(data), self.memory, status)[1]


@contextmanager
def booted(cmdline="fadump=on", platform=Platform.PSERIES, traits=LINUX_6_12, status=0):
    with guest_memory(Range(0, 4 * GIB)) as memory:
        yield Booted(memory, platform, cmdline, traits, status)


def test_which_files_there_are_and_their_modes():
    with booted() as boot:
        assert boot.modes() == NAMES | {"bootargs_append": 0o644}
        files = boot.kernel.files()
        assert files["/sys/kernel/fadump_enabled"] == KernelLink("fadump/enabled")
        assert files["/proc/cmdline"].size_bytes == len("fadump=on\n")
        assert "/sys/kernel/fadump_release_mem" not in files and "/proc/vmcore" not in files
        assert {file.size_bytes for path, file in files.items() if path.startswith(FADUMP + "/")} == {65536}
    with booted(platform=Platform.POWERNV, traits=replace(LINUX_6_12, page_bytes=4096)) as boot:
        assert boot.modes() == NAMES
        assert boot.kernel.files()[f"{FADUMP}/enabled"].size_bytes == 4096


def test_an_older_kernel_has_fewer():
    with booted(traits=LINUX_6_1) as boot:
        assert boot.modes() == {name: mode for name, mode in NAMES.items() if name != "hotplug_ready"}
        assert boot.kernel.files()["/proc/cmdline"].size_bytes == 0


def test_newer_kernels_have_no_words_for_a_capture_kernel_without_fadump():
    """Nor if FADump is asked for and refused, as here: boot memory of 100 MiB."""
    for cmdline in ("fadump=off", "", "fadump=on crashkernel=100M"):
        with booted(cmdline, traits=LINUX_7_2) as boot:
            assert boot.modes() == NAMES
        with booted(cmdline) as boot:
            assert boot.modes() == NAMES | {"bootargs_append": 0o644}
    with booted(traits=LINUX_7_2) as boot:
        assert boot.modes() == NAMES | {"bootargs_append": 0o644}


def test_the_files_of_kexec_are_in_a_directory_of_their_own_in_newer_kernels():
    for name in ("loaded", "crash_loaded"):
        with booted(traits=LINUX_7_2) as boot:
            files = boot.kernel.files()
            assert files[f"/sys/kernel/kexec_{name}"] == KernelLink(f"kexec/{name}")
            assert files[f"/sys/kernel/kexec/{name}"].show() == b"0\n"
        with booted() as boot:
            assert boot.kernel.files()[f"/sys/kernel/kexec_{name}"].show() == b"0\n"
            assert f"/sys/kernel/kexec/{name}" not in boot.kernel.files()


def test_without_fadump_they_are_there_and_say_so():
    with booted("fadump=off") as boot:
        assert boot.modes() == NAMES | {"bootargs_append": 0o644}
        assert [boot.show(name) for name in ("enabled", "registered", "mem_reserved")] == ["0\n"] * 3
        assert boot.show("bootargs_append") == "\n"
        assert boot.store("registered", b"1") == boot.store("bootargs_append", b"a") == Errno.EPERM
        assert boot.kernel.files()[REGION].show() == b""


def test_a_machine_without_fadump_has_none_of_them():
    tree = described_tree()
    del tree.find("/rtas").properties["ibm,configure-kernel-dump"]
    with guest_memory(Range(0, 4 * GIB)) as memory:
        kernel = KernelModel(KernelConfig(), lambda _line: None)
        run(kernel.boot(tree, memory), memory)
        assert not [path for path in kernel.files() if "fadump" in path]


@pytest.mark.parametrize(("status", "errno", "registered"), [
    (0, 2, "1\n"), (HARDWARE, Errno.EIO, "0\n"), (PARAMETER, Errno.EINVAL, "0\n"), (ALREADY, Errno.EEXIST, "1\n"),
    (-77, Errno.EIO, "0\n"), (BUSY, Errno.ETIMEDOUT, "0\n"),
])  # fmt: skip
def test_registering_comes_to_what_rtas_answers(status, errno, registered):
    with booted(status=HARDWARE) as boot:
        assert boot.show("registered") == "0\n"
        assert boot.store("registered", b"1\n", status) == errno
        assert boot.show("registered") == registered


def test_opal_without_support_turns_fadump_off():
    with booted(platform=Platform.POWERNV) as boot:
        boot.store("registered", b"0")
        assert boot.store("registered", b"1", OpalStatus.HARDWARE) == Errno.EIO
        assert (boot.show("enabled"), boot.store("registered", b"1")) == ("0\n", Errno.EPERM)


def test_what_unregistering_comes_to_is_not_told():
    with booted() as boot:
        assert boot.store("registered", b"0", HARDWARE) == 1
        assert boot.show("registered") == "1\n"
        assert [boot.store("registered", data) for data in (b"0", b"2", b"x", b"")] == [1, *[Errno.EINVAL] * 3]


@pytest.mark.parametrize(("data", "shown"), [
    (b"nr_cpus=1\n", "nr_cpus=1\n"), (b"a\nb\n", "a\nb\n"), (b"ab\0cd", "ab\n"), (b"ab\0\n", "ab\n"), (b"\n", "\n"),
])  # fmt: skip
def test_words_for_the_capture_kernel(data, shown):
    with booted() as boot:
        boot.store("bootargs_append", b"long words that were there before")
        assert boot.store("bootargs_append", data) == len(data)
        assert boot.show("bootargs_append") == shown


def test_words_have_to_fit_on_the_command_line():
    with booted() as boot:
        room = 2048 - len("fadump=on") - 1
        assert boot.store("bootargs_append", b"x" * room) == room
        assert boot.store("bootargs_append", b"x" * (room + 1)) == Errno.ENOSPC
        assert boot.store("bootargs_append", b"x" * 2048) == Errno.EINVAL
        assert "Appending parameters exceeds cmdline size!" in boot.said[-1]


def test_a_write_is_no_longer_than_a_page():
    with booted(traits=replace(LINUX_6_12, page_bytes=4096)) as boot:
        assert boot.store("bootargs_append", b"x" * 5000) == Errno.EINVAL
        assert boot.store("registered", b"1" + b"\0" * 5000) == 4096


def test_the_log_is_read_once():
    with booted() as boot:
        log = boot.kernel.files()["/proc/kmsg"]
        assert isinstance(log, KernelFile)
        first = log.stream(30)
        assert first == b"<6>[    0.000001] fadump: Reserved"[:30]
        rest = log.stream(1 << 20)
        assert (first + rest).count(b"\n") == len(boot.said)
        assert log.stream(100) == b""


@pytest.mark.parametrize(
    ("how", "readable"),
    [
        ({}, False),
        ({"store": len}, False),
        ({"show": bytes}, True),
        ({"read_at": lambda _at, size_bytes: bytes(size_bytes)}, True),
        ({"stream": bytes}, True),
    ],
    ids=["nothing", "store", "show", "read_at", "stream"],
)
def test_what_can_be_read_by_any_way_is_readable(how, readable):
    assert KernelFile(FileSystem.SYSFS, 0o644, **how).readable is readable
