"""How long a boot takes with our firmware beside QEMU's own, against the same machine without it.

On powernv Linux makes some 25,000 OPAL calls until it runs its first process, on pseries some 300 RTAS calls. All of
them go through the entry page; only ours stop the guest. Boots with and without us alternate; medians are shown.
"""

import asyncio
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import BinaryIO

from benchmarks.bare_qemu import bare_qemu
from benchmarks.report import parser, show
from fadump.abi.platform import Platform
from fadump.errors import MachineError, SetupError
from fadump.firmware.contract import Answer, Firmware, FirmwareCall, PassThrough
from fadump.firmware.powernv import PowernvFirmware
from fadump.firmware.pseries import PseriesFirmware
from fadump.kit.initramfs import build_initramfs
from fadump.kit.kernel import find_kernel
from fadump.machine.channel import Hello
from fadump.machine.contract import Handover
from fadump.machine.qemu.config import QemuConfig
from fadump.machine.qemu.machine import QemuMachine
from fadump.run.options import RunOptions, WhichMachine
from fadump.run.parts import kernel_command_line

_MEMORY_BYTES = {Platform.PSERIES: 2 << 30, Platform.POWERNV: 4 << 30}
_SILENCE_SECONDS = 300


def main() -> None:
    arguments = parser(__doc__.partition("\n")[0])
    arguments.add_argument("--boots", type=int, default=5, help="how many of each (default: %(default)s)")
    options = arguments.parse_args()
    show("boot", [row(platform, options.boots) for platform in Platform], as_json=options.json)


def row(platform: Platform, boots: int) -> dict[str, object]:
    """The line for one platform with the default kernel."""
    with_us, without = [], []
    for _boot in range(boots):
        without.append(boot_seconds(platform, ours=False))
        with_us.append(boot_seconds(platform, ours=True))
    ratio = statistics.median(with_us) / statistics.median(without)
    return {
        "platform": platform.value,
        "with us s": statistics.median(with_us),
        "without s": statistics.median(without),
        "ratio": ratio,
    }


def boot_seconds(platform: Platform, *, ours: bool) -> float:
    """From power-on to the guest's first report."""
    kernel = find_kernel()
    if kernel is None:
        raise SetupError("no default kernel in the cache: run fadump kernel build")
    with tempfile.TemporaryFile() as disk, Path(os.devnull).open("wb") as console:
        disk.truncate(1 << 20)
        options = RunOptions(kernel.bootable.parent, WhichMachine.QEMU, platform, _MEMORY_BYTES[platform])
        config = QemuConfig(
            kernel.bootable,
            build_initramfs(),
            kernel_command_line(options),
            platform=platform,
            nodes=(options.memory_bytes,),
        )
        if ours:
            return _boot(config, disk.fileno(), console)
        return asyncio.run(asyncio.wait_for(_bare_boot(config, disk.fileno(), console), _SILENCE_SECONDS))


def _boot(config: QemuConfig, disk_fd: int, console: BinaryIO) -> float:
    firmware: Firmware = PowernvFirmware() if config.platform is Platform.POWERNV else PseriesFirmware()
    started = time.monotonic()
    with QemuMachine(config, disk_fd, console) as machine:
        while True:
            match event := machine.next_event(_SILENCE_SECONDS):
                case Handover():
                    firmware.describe(event.tree)
                    machine.enter(event, firmware.tokens)
                case FirmwareCall():
                    outcome = firmware.call(event, machine.memory)
                    assert isinstance(outcome, Answer | PassThrough)  # noqa: S101 - nothing crashes here
                    machine.answer(event, outcome)
                case Hello():
                    return time.monotonic() - started
                case _:
                    raise MachineError(f"instead of booting, the guest: {event}")


async def _bare_boot(config: QemuConfig, disk_fd: int, console: BinaryIO) -> float:
    async with bare_qemu(config, disk_fd, console) as (link, started):
        message = await link.inbox.get()
        if not isinstance(message, Hello):
            raise MachineError(f"instead of booting, the guest: {message}")
        return time.monotonic() - started


if __name__ == "__main__":
    main()
