"""How long a whole system takes from power-on to its prompt with our firmware, against the same QEMU without it.

Boots with and without us alternate; medians are shown. Without us a kernel with ``fadump=on`` reserves memory for
kdump instead, and a service that loads a kernel for that takes minutes: the command line here has no ``fadump=on``, and
a disk that its boot loader starts must have no such service (README.md says how).
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
from fadump.firmware.contract import FirmwareCall, Outcome
from fadump.firmware.pseries import PseriesFirmware
from fadump.machine.qemu.machine import QemuMachine
from fadump.machine.qemu.process import QemuConfig
from fadump.observer import Unwatched
from fadump.session import Session
from fadump.systems.console import WatchedConsole
from fadump.systems.disks import open_drives
from fadump.systems.vm import VmOptions, machine_config

_PROMPT = r"root@[\w-]+:~# ?$"
_MOST_SECONDS = 900


class _CountedCalls(Unwatched):
    def __init__(self) -> None:
        self.calls = 0

    def firmware_call(self, call: FirmwareCall, outcome: Outcome, at_seconds: float) -> None:
        self.calls += 1


def main() -> None:
    arguments = parser(__doc__.partition("\n")[0])
    arguments.add_argument("disk", type=Path, help="a system's disk image, on whose console root is logged in")
    arguments.add_argument("kernel", type=Path, nargs="?", help="the kernel to start on it, else its boot loader's")
    arguments.add_argument("--cmdline", default="console=hvc0 root=/dev/vda2 ro", help="its (default: %(default)s)")
    arguments.add_argument("--boots", type=int, default=5, help="how many of each (default: %(default)s)")
    options = arguments.parse_args()
    cmdline = options.cmdline if options.kernel else None
    vm = VmOptions(kernel=options.kernel, cmdline=cmdline, disks=(options.disk,), snapshot=True)
    with_us, without, stops, calls = [], [], 0, 0
    for _boot in range(options.boots):
        without.append(bare_boot_seconds(vm))
        seconds, stops, calls = boot_with_us(vm)
        with_us.append(seconds)
    row = {
        "with us s": statistics.median(with_us),
        "without s": statistics.median(without),
        "ratio": statistics.median(with_us) / statistics.median(without),
        "stops": stops,
        "our calls": calls,
    }
    show("systems", [row], as_json=options.json)


def boot_with_us(vm: VmOptions) -> tuple[float, int, int]:
    """From power-on to the prompt, how often the guest was stopped, and how many of our calls it made."""
    console, counted = WatchedConsole(io.BytesIO(), _PROMPT), _CountedCalls()
    with open_drives(vm.disks, snapshot=True) as drives:
        config = machine_config(vm, drives)
        started = time.monotonic()
        with QemuMachine(config, None, console) as machine:
            console.changed = machine.call
            machine.call_after(_MOST_SECONDS)
            session = Session(machine, PseriesFirmware(), counted, silence_seconds=math.inf)
            while not console.is_ready:
                session.serve()
                if time.monotonic() - started > _MOST_SECONDS:
                    raise MachineError(f"no prompt: {console.last_lines}")
            return time.monotonic() - started, machine.served.stops, counted.calls


def bare_boot_seconds(vm: VmOptions) -> float:
    """The same of the QEMU without us."""
    with open_drives(vm.disks, snapshot=True) as drives:
        return asyncio.run(asyncio.wait_for(_bare_boot(machine_config(vm, drives)), _MOST_SECONDS))


async def _bare_boot(config: QemuConfig) -> float:
    console = WatchedConsole(io.BytesIO(), _PROMPT)
    ready = asyncio.Event()
    console.changed = ready.set
    async with bare_qemu(config, None, console) as (_link, started):
        await ready.wait()
        return time.monotonic() - started


if __name__ == "__main__":
    main()
