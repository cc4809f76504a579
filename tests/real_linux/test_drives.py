"""Drives, network and arguments of the user's, as QEMU itself lists them; nothing is booted."""

import asyncio
import io
import os
from contextlib import contextmanager

import pytest

from fadump.abi.platform import Platform
from fadump.errors import SetupError
from fadump.kit.packages import require
from fadump.machine.qemu.config import DEFAULT_QEMU, DiskFormat, Drive, QemuConfig
from fadump.machine.qemu.link import QemuLink
from fadump.machine.qemu.machine import QemuMachine
from fadump.machine.qemu.process import guest_ram_file

MIB = 1 << 20

pytestmark = pytest.mark.linux


@pytest.fixture(autouse=True)
def qemu():
    require("running a guest", {DEFAULT_QEMU: "qemu-system-ppc"})


@contextmanager
def ram(config):
    fds = [guest_ram_file(piece.size_bytes) for piece in config.memory]
    try:
        yield fds
    finally:
        for fd in fds:
            os.close(fd)


def ask(config, *commands, disk_fd=None):
    """What a QEMU with this configuration answers to these QMP commands."""

    async def answers():
        with ram(config) as fds:
            link = await QemuLink.start(config, fds, disk_fd, io.BytesIO(), bool)
            try:
                return [await link.execute(command) for command in commands]
            finally:
                await link.close()

    return asyncio.run(answers())


def raw(path, size_bytes=MIB):
    path.touch()
    os.truncate(path, size_bytes)
    return path


@pytest.mark.parametrize("platform", Platform)
def test_drives_are_disks_in_their_order_with_their_formats(tmp_path, kernel, platform):
    first, second = raw(tmp_path / "a,b.img"), raw(tmp_path / "second.img", 2 * MIB)
    with second.open("r+b") as inherited:
        config = QemuConfig(
            kernel.bootable, None, "", platform, nodes=(1 << 30,), user_network=True, has_guest_channel=False,
            drives=(Drive(first, DiskFormat.RAW), Drive(second, DiskFormat.RAW, inherited.fileno())),
        )  # fmt: skip
        blocks, cards = ask(config, "query-block", "query-rx-filter")
    disks = {block["device"]: block["inserted"] for block in blocks if "inserted" in block}
    assert [disks[name]["image"]["virtual-size"] for name in ("disk0", "disk1")] == [MIB, 2 * MIB]
    assert disks["disk0"]["file"] == str(first)
    assert {inserted["drv"] for name, inserted in disks.items() if name.startswith("disk")} == {"raw"}
    assert len(cards) == 1


def test_a_machine_without_a_kernel_boots_from_its_first_drive(tmp_path):
    drives = tuple(Drive(raw(tmp_path / name), DiskFormat.RAW) for name in ("a", "b"))
    config = QemuConfig(None, None, "", nodes=(1 << 30,), drives=drives, has_guest_channel=False)
    (devices,) = ask(config, "query-block")
    assert [block["device"] for block in devices] == ["disk0", "disk1"]


def test_arguments_of_the_users_reach_qemu(tmp_path):
    arguments = ("-name", "a machine of mine")
    config = QemuConfig(None, None, "", nodes=(1 << 30,), has_guest_channel=False, extra_arguments=arguments)
    (name,) = ask(config, "query-name")
    assert name == {"name": "a machine of mine"}


def test_powernv_without_a_kernel_is_refused():
    config = QemuConfig(None, None, "", Platform.POWERNV, nodes=(1 << 30,), has_guest_channel=False)
    with pytest.raises(SetupError, match="give a --kernel"):
        QemuMachine(config, None, io.BytesIO())
