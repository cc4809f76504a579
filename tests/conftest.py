"""What all tests share: the tools that they need, and the strict rule of CI."""

import os
import platform
import signal
import sysconfig

import hypothesis
import pytest

from fadump.errors import SetupError
from fadump.kit import packages

hypothesis.settings.register_profile("fadump", deadline=None)  # a busy host is no failure
hypothesis.settings.load_profile("fadump")

pytest_plugins = ["pytester", "tests.strict", "tests.kit.archive"]

TOOLS = {
    "dtc": "device-tree-compiler",
    "readelf": "binutils",
    "cpio": "cpio",
    "powerpc64le-linux-gnu-objdump": "binutils-powerpc64le-linux-gnu",
    "powerpc64le-linux-gnu-gcc": "gcc-powerpc64le-linux-gnu",
    "qemu-system-ppc64": "qemu-system-ppc",
    "qemu-ppc64le": "qemu-user",
    "gdb-multiarch": "gdb-multiarch",
    "fusermount3": "fuse3",
    "sfdisk": "fdisk",
    "mke2fs": "e2fsprogs",
    "mkfs.btrfs": "btrfs-progs",
    "mkfs.xfs": "xfsprogs",
    "lvm": "lvm2",
    "systemd-analyze": "systemd",
    "blkid": "util-linux",
    f"/usr/lib/{sysconfig.get_config_var('MULTIARCH')}/liblzo2.so.2": "liblzo2-2",
    f"/usr/lib/{sysconfig.get_config_var('MULTIARCH')}/libsnappy.so.1": "libsnappy1v5",
}

if os.geteuid() == 0:  # the tests that make networks
    TOOLS |= {"/usr/sbin/sshd": "openssh-server", "ssh": "openssh-client", "ip": "iproute2"}
    if platform.machine() == "x86_64":  # and those in another Linux
        TOOLS |= {"linux.uml": "user-mode-linux", "modprobe": "kmod", "udevadm": "udev"}
        TOOLS |= {"gcc": "gcc", "/usr/include/stdio.h": "libc6-dev"}
        TOOLS |= {"/usr/sbin/mount.nfs": "nfs-common", "/usr/sbin/rpc.nfsd": "nfs-kernel-server"}
        TOOLS |= {"/usr/sbin/iscsid": "open-iscsi", "/usr/sbin/tgtd": "tgt"}


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The root of a cache of its own, which every process that the test starts uses too."""
    root = tmp_path / "cache"
    monkeypatch.setenv("FADUMP_CACHE", str(root))
    return root


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What mostly waits, for minutes, comes first: at the end everything else would wait for it."""
    items.sort(key=lambda item: item.path.name != "test_nfs.py")


def pytest_configure() -> None:
    """Commands that tests start obey Ctrl-C and a terminal that goes, though this session may not: in the background,
    or behind nohup. A signal that is handled, if only by doing nothing, has its default in whatever is started."""
    for number in (signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda _number, _frame: None)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--no-tools", action="store_true", help="take what is here: make test-install has chosen it")


def pytest_sessionstart(session: pytest.Session) -> None:
    if session.config.getoption("--no-tools"):
        return
    try:
        packages.require("running the tests", TOOLS)
    except SetupError as error:
        pytest.exit(str(error), returncode=pytest.ExitCode.USAGE_ERROR)


class Clock:
    """Seconds, as a test sets them."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    """A clock that only the test turns."""
    return Clock()
