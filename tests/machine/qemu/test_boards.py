"""Which board a machine has; nothing is started."""

from pathlib import Path

import pytest

from fadump.abi.platform import Platform
from fadump.errors import SetupError
from fadump.machine.qemu.boards import board_of
from fadump.machine.qemu.config import KERNEL_ADDRESS, QemuConfig


def test_without_a_kernel_pseries_follows_the_boot_loader_of_its_disk():
    board = board_of(QemuConfig(None, None, ""))
    assert (board.kernel_entry.address, board.has_boot_tree) == (0x20_0000, True)


def test_with_a_kernel_pseries_knows_its_entry():
    board = board_of(QemuConfig(Path("vmlinux"), None, ""))
    assert (board.kernel_entry.address, board.has_boot_tree) == (KERNEL_ADDRESS, False)


@pytest.mark.parametrize(
    ("config", "why"),
    [
        (QemuConfig(None, None, "", Platform.POWERNV), "QEMU's powernv starts no boot loader"),
        (QemuConfig(None, None, "", vof=True), "Virtual Open Firmware starts no boot loader"),
    ],
)
def test_a_firmware_that_starts_no_boot_loader_needs_a_kernel(config, why):
    with pytest.raises(SetupError, match=f"{why} from a disk: give a --kernel"):
        board_of(config)
