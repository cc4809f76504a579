"""How long a whole system takes from power-on to its prompt with our firmware, against the same QEMU without it.

Boots with and without us alternate; medians are shown. ``CPU s`` is the processor time of QEMU alone, from its start to
its end, which a busy host changes less than the time by the clock.

Without us a kernel with ``fadump=on`` reserves memory for kdump instead, and a service that loads a kernel for that
takes minutes: the command line here has no ``fadump=on``, and a disk that its boot loader starts must have no such
service (README.md says how).
"""

import asyncio
import io
import math
import resource
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bare_qemu import bare_qemu
from benchmarks.report import parser, show
from fadump.errors import MachineError
from fadump.firmware.contract import FirmwareCall, Outcome
from fadump.firmware.pseries import PseriesFirmware
from fadump.machine.qemu.config import QemuConfig
from fadump.machine.qemu.machine import QemuMachine
from fadump.observer import Unwatched
from fadump.session import Session
from fadump.systems.console import WatchedConsole
from fadump.systems.disks import open_drives
from fadump.systems.vm import VmOptions, machine_config

_PROMPT = r"root@[\w-]+:~# ?$"
_MOST_SECONDS = 900


@dataclass(frozen=True, slots=True)
class Boot:
    """What one boot took: seconds by the clock to its prompt, and QEMU's processor time."""

    seconds: float
    cpu_seconds: float
    stops: int = 0
    calls: int = 0


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
    with_us, without = [], []
    for _boot in range(options.boots):
        without.append(bare_boot(vm))
        with_us.append(boot_with_us(vm))
    show("systems", [row(with_us, without)], as_json=options.json)


def row(with_us: Sequence[Boot], without: Sequence[Boot]) -> dict[str, object]:
    """The line of the table: medians of both sides, and how often the last guest was stopped."""
    seconds = [statistics.median(boot.seconds for boot in boots) for boots in (with_us, without)]
    cpu_seconds = [statistics.median(boot.cpu_seconds for boot in boots) for boots in (with_us, without)]
    return {
        "with us s": seconds[0],
        "without s": seconds[1],
        "ratio": seconds[0] / seconds[1],
        "with us CPU s": cpu_seconds[0],
        "without CPU s": cpu_seconds[1],
        "CPU ratio": cpu_seconds[0] / cpu_seconds[1],
        "stops": with_us[-1].stops,
        "our calls": with_us[-1].calls,
    }


def boot_with_us(vm: VmOptions) -> Boot:
    """A boot with our firmware."""
    console, counted = WatchedConsole(io.BytesIO(), _PROMPT), _CountedCalls()
    cpu_before = _ended_cpu_seconds()
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
            seconds = time.monotonic() - started
            stops = machine.served.stops
    return Boot(seconds, _ended_cpu_seconds() - cpu_before, stops, counted.calls)


def bare_boot(vm: VmOptions) -> Boot:
    """A boot of the QEMU without us."""
    cpu_before = _ended_cpu_seconds()
    with open_drives(vm.disks, snapshot=True) as drives:
        seconds = asyncio.run(asyncio.wait_for(_bare_boot_seconds(machine_config(vm, drives)), _MOST_SECONDS))
    return Boot(seconds, _ended_cpu_seconds() - cpu_before)


async def _bare_boot_seconds(config: QemuConfig) -> float:
    console = WatchedConsole(io.BytesIO(), _PROMPT)
    ready = asyncio.Event()
    console.changed = ready.set
    async with bare_qemu(config, None, console) as (_link, started):
        await ready.wait()
        return time.monotonic() - started


def _ended_cpu_seconds() -> float:
    """The processor time of all children that have ended: QEMU is the only one that takes any."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
