"""How often one cycle stops the guest, against our calls and twice per boot; and what a crash and a handover take.

The twice: both breaks are at the kernel's entry point, which SLOF enters as an Open Firmware client (prom_init), and
prom_init again with the finished tree. A stop that was neither, where a breakpoint matched somebody else's address, is
counted by the machine. Calls are counted in ``firmware.log``; boots are 1 and the reset after the crash.
With ``--log``, only the calls of a run that there was are counted.

The handover is the capture kernel's: kept memory is compared and put back, the tree edited and written, the entry page
set up. Its seconds are shown per GiB that the guest has populated. From the crash to the capture kernel's entry goes
what we do and what the boot firmware does, SLOF and prom_init: the first boot, from power-on to the kernel's entry, has
their share alone, and QEMU's start.
"""

import re
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from benchmarks.report import GIB, parser, show, timed
from fadump.cycle import CycleRequest, run_cycle
from fadump.errors import SetupError
from fadump.firmware.pseries import PseriesFirmware
from fadump.kit.initramfs import build_initramfs
from fadump.kit.kernel import find_kernel
from fadump.machine.contract import Handover
from fadump.machine.qemu.config import QemuConfig
from fadump.machine.qemu.machine import QemuMachine
from fadump.memory.ranges import Range
from fadump.observer import Milestone
from fadump.run.options import RunOptions, WhichMachine
from fadump.run.output import OutputDirectory
from fadump.run.parts import kernel_command_line

if TYPE_CHECKING:
    from fadump.observer import Observer

STOPS_PER_BOOT = 2
_CALL = re.compile(r"^ *[0-9.]+ CPU \d+ token 0x", re.MULTILINE)
_MEMORY_BYTES = 4 << 30
_DISK_BYTES = 5 << 30


class TimedMachine(QemuMachine):
    """Times the last handover with memory to put back, which is any but the first, and when the first one is due."""

    powered_on = 0.0
    first_boot_seconds = 0.0
    handover_seconds = 0.0
    populated_bytes = 0

    def enter(self, handover: Handover, tokens: frozenset[int]) -> None:
        if handover.boot == 1:
            self.first_boot_seconds = time.monotonic() - self.powered_on
            super().enter(handover, tokens)
        else:
            ram = Range(0, max(piece.end for piece in self.memory.ram))
            self.populated_bytes = self.memory.populated(ram).size_bytes
            self.handover_seconds = timed(lambda: super(TimedMachine, self).enter(handover, tokens))


class _Nobody:
    """An observer that does nothing, whatever it is told."""

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - a method of any name
        return lambda *_told: None


def main() -> None:
    arguments = parser(__doc__.partition("\n")[0])
    arguments.add_argument("--log", type=Path, help="a firmware.log to count calls in, instead of running a cycle")
    options = arguments.parse_args()
    if options.log is not None:
        row: dict[str, object] = {"our calls": calls_in(options.log.read_text())}
    else:
        with tempfile.TemporaryDirectory() as directory:
            row = one_cycle(Path(directory) / "out")
    show("stops", [row], as_json=options.json)


def calls_in(firmware_log: str) -> int:
    """How many of our calls a log has."""
    return len(_CALL.findall(firmware_log))


def one_cycle(out: Path) -> dict[str, object]:
    """The line for one cycle with the default kernel."""
    kernel = find_kernel()
    if kernel is None:
        raise SetupError("no default kernel in the cache: run fadump kernel build")
    options = RunOptions(out, WhichMachine.QEMU, memory_bytes=_MEMORY_BYTES)
    config = QemuConfig(kernel.bootable, build_initramfs(), kernel_command_line(options), nodes=(_MEMORY_BYTES,))
    powered_on = time.monotonic()
    with (
        OutputDirectory(out, _DISK_BYTES) as output,
        TimedMachine(config, output.vmcore_fd, output.console_log) as machine,
    ):
        machine.powered_on = powered_on
        result = run_cycle(machine, PseriesFirmware(), CycleRequest(), output.watch(cast("Observer", _Nobody())))
        calls = calls_in((out / "firmware.log").read_text())
        boots, reached = 1 + result.reboots, dict(result.timeline)
        return {
            "stops": machine.served.stops,
            "our calls": calls,
            "boots": boots,
            "foreign stops": machine.served.foreign_stops,
            "beyond calls and 2 per boot": machine.served.stops - calls - STOPS_PER_BOOT * boots,
            "populated GiB": machine.populated_bytes / GIB,
            "first boot to kernel s": machine.first_boot_seconds,
            "crash to capture kernel s": reached[Milestone.CAPTURE_BOOT] - reached[Milestone.CRASH],
            "handover s/GiB": machine.handover_seconds / (machine.populated_bytes / GIB),
        }


if __name__ == "__main__":
    main()
