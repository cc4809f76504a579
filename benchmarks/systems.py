"""How long a whole system takes from power-on to its prompt with our firmware, against the same QEMU without it.

Boots with and without us alternate; medians are shown. The command line has no ``fadump=on``: without us a kernel
would reserve memory for kdump instead, and its service would load a kernel for that, which takes minutes.
"""

import asyncio
import io
import math
import statistics
import time
from pathlib import Path

from benchmarks.bare_qemu import bare_qemu
from benchmarks.report import parser, show
from fadump.errors import MachineError
from fadump.firmware.pseries import PseriesFirmware
from fadump.machine.qemu.machine import QemuMachine
from fadump.machine.qemu.process import QemuConfig
from fadump.session import Session, Unwatched
from fadump.systems.console import WatchedConsole
from fadump.systems.disks import open_drives
from fadump.systems.vm import VmOptions, machine_config

_PROMPT = r"root@[\w-]+:~# ?$"
_MOST_SECONDS = 900


def main() -> None:
    arguments = parser(__doc__.partition("\n")[0])
    arguments.add_argument("disk", type=Path, help="a system's disk image, on whose console root is logged in")
    arguments.add_argument("kernel", type=Path, help="the kernel to start on it")
    arguments.add_argument("--cmdline", default="console=hvc0 root=/dev/vda2 ro", help="(default: %(default)s)")
    arguments.add_argument("--boots", type=int, default=5, help="how many of each (default: %(default)s)")
    options = arguments.parse_args()
    vm = VmOptions(kernel=options.kernel, cmdline=options.cmdline, disks=(options.disk,), snapshot=True)
    with_us, without, stops = [], [], 0
    for _boot in range(options.boots):
        without.append(boot_seconds(vm)[0])
        seconds, stops = boot_seconds(vm, ours=True)
        with_us.append(seconds)
    row = {
        "with us s": statistics.median(with_us),
        "without s": statistics.median(without),
        "ratio": statistics.median(with_us) / statistics.median(without),
        "stops": stops,
    }
    show("systems", [row], as_json=options.json)


def boot_seconds(vm: VmOptions, *, ours: bool = False) -> tuple[float, int]:
    """From power-on to the prompt, and how often the guest was stopped."""
    with open_drives(vm.disks, snapshot=True) as drives:
        config = machine_config(vm, drives)
        return _boot(config) if ours else asyncio.run(asyncio.wait_for(_bare_boot(config), _MOST_SECONDS))


def _boot(config: QemuConfig) -> tuple[float, int]:
    console = WatchedConsole(io.BytesIO(), _PROMPT)
    started = time.monotonic()
    with QemuMachine(config, None, console) as machine:
        console.changed = machine.call
        machine.call_after(_MOST_SECONDS)
        session = Session(machine, PseriesFirmware(), Unwatched(), silence_seconds=math.inf)
        while not console.is_ready:
            session.serve()
            if time.monotonic() - started > _MOST_SECONDS:
                raise MachineError(f"no prompt: {console.last_lines}")
        return time.monotonic() - started, machine.served.stops


async def _bare_boot(config: QemuConfig) -> tuple[float, int]:
    console = WatchedConsole(io.BytesIO(), _PROMPT)
    ready = asyncio.Event()
    console.changed = ready.set
    async with bare_qemu(config, None, console) as (_link, started):
        await ready.wait()
        return time.monotonic() - started, 0


if __name__ == "__main__":
    main()
