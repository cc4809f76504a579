"""Reading a guest's hash page table: by H_READ as the firmware does, and in QEMU's memory as the proof does.

The guest is real Linux on POWER8, which has crashed. All of its table is read, a 128th of RAM.
"""

import tempfile
from pathlib import Path

from benchmarks.report import GIB, MIB, parser, show, timed
from fadump.abi.pseries.hash_table import usual_bytes
from fadump.cycle import CycleRequest, run_cycle
from fadump.errors import SetupError
from fadump.firmware.contract import PreservedDump
from fadump.firmware.pseries import Offer, PseriesFirmware
from fadump.kit.initramfs import build_initramfs
from fadump.kit.kernel import find_kernel
from fadump.machine.contract import Machine
from fadump.machine.qemu.config import QemuConfig
from fadump.machine.qemu.machine import QemuMachine
from fadump.observer import Unwatched
from fadump.run.options import RunOptions, WhichMachine
from fadump.run.output import OutputDirectory
from fadump.run.parts import kernel_command_line

_DISK_SLACK_BYTES = 128 * MIB


class Onlooker:
    """An inspector that looks at the table in QEMU's memory, and times that."""

    seconds = 0.0

    def crashed(self, machine: Machine, _cpus: object, _crashing_cpu: int | None) -> None:
        self.seconds = timed(machine.look_at_hash_table)

    def released(self, machine: Machine, dump: PreservedDump) -> None: ...


def main() -> None:
    arguments = parser(__doc__.partition("\n")[0])
    arguments.add_argument("--gib", type=int, nargs="+", default=[2], help="sizes of the guest's memory")
    options = arguments.parse_args()
    rows = []
    for gib in options.gib:
        with tempfile.TemporaryDirectory() as directory:
            rows.append(one_crash(Path(directory) / "out", gib * GIB))
    show("hash_table", rows, as_json=options.json)


def one_crash(out: Path, memory_bytes: int) -> dict[str, object]:
    """The line for a guest with so much memory."""
    kernel = find_kernel()
    if kernel is None:
        raise SetupError("no default kernel in the cache: run fadump kernel build")
    options = RunOptions(out, WhichMachine.QEMU, memory_bytes=memory_bytes)
    cmdline = kernel_command_line(options)
    config = QemuConfig(kernel.bootable, build_initramfs(), cmdline, nodes=(memory_bytes,), cpu_model="POWER8")
    table_bytes = usual_bytes(memory_bytes)
    onlooker = Onlooker()
    with (
        OutputDirectory(out, memory_bytes + _DISK_SLACK_BYTES) as output,
        QemuMachine(config, output.vmcore_fd, output.console_log) as machine,
    ):
        firmware = PseriesFirmware(offer=Offer(hpte_bytes=table_bytes))
        run_cycle(machine, firmware, CycleRequest(), output.watch(Unwatched()), onlooker)
        return {
            "guest GiB": memory_bytes / GIB,
            "table MiB": table_bytes / MIB,
            "H_READ s": machine.served.hash_table.copy_seconds,
            "H_READ MB/s": table_bytes / machine.served.hash_table.copy_seconds / 1e6,
            "in QEMU's memory s": onlooker.seconds,
        }


if __name__ == "__main__":
    main()
