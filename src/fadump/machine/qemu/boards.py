"""Which board a machine has, by its configuration: the platform, and where the kernel comes from."""

from fadump.abi.platform import Platform
from fadump.errors import SetupError
from fadump.machine.qemu.board import Board
from fadump.machine.qemu.config import QemuConfig
from fadump.machine.qemu.powernv import PowernvBoard
from fadump.machine.qemu.pseries import PseriesBoard


def board_of(config: QemuConfig) -> Board:
    """The board of a machine that is not started yet.

    :raises SetupError: it has no kernel, and nothing that would start a boot loader; or its kernel is none.
    """
    kernel = config.started_kernel
    match config.platform:
        case Platform.PSERIES if kernel is None and config.vof:
            raise SetupError("QEMU's Virtual Open Firmware starts no boot loader from a disk: give a --kernel")
        case Platform.PSERIES:
            return PseriesBoard(boots_from_disk=kernel is None)
        case Platform.POWERNV if kernel is not None:
            return PowernvBoard(kernel)
        case Platform.POWERNV:
            raise SetupError("QEMU's powernv starts no boot loader from a disk: give a --kernel")
