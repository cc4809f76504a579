"""A machine with our firmware, taken through a story step by step: what ``fadump run`` has no option for."""

from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from fadump.abi.platform import Platform
from fadump.firmware.faults import FaultyFirmware
from fadump.firmware.powernv import PowernvFirmware
from fadump.firmware.pseries import PseriesFirmware
from fadump.kit.initramfs import build_initramfs
from fadump.machine.channel import (
    Hello,
    Register,
    Registered,
    Release,
    Released,
    Reregister,
    RunScript,
    Save,
    Saved,
    Saving,
    ScriptRan,
    Unregister,
    Unregistered,
)
from fadump.machine.embedded.machine import EmbeddedMachine
from fadump.machine.qemu.config import QemuConfig
from fadump.machine.qemu.machine import QemuMachine
from fadump.memory.ranges import Range, RangeSet
from fadump.observer import CrashBy, Unwatched
from fadump.proof.crash_image import CrashImage
from fadump.proof.verify import Verdict, Verifier
from fadump.run.faults import FAULT_NAMES
from fadump.run.options import RunOptions, WhichMachine
from fadump.run.output import OutputDirectory
from fadump.run.parts import embedded_config, kernel_command_line
from fadump.session import Session
from fadump.vmcore.elfcore import ElfCore

MIB = 1 << 20
MEMORY_BYTES = {Platform.PSERIES: 1024 * MIB, Platform.POWERNV: 4096 * MIB}
FIRMWARE = {Platform.PSERIES: PseriesFirmware, Platform.POWERNV: PowernvFirmware}
PAGE_BYTES = 0x10000
PATTERN = b"fadump-pressure\n"
FILL = """
mkdir -p /mnt && mount -t tmpfs -o size=90% tmpfs /mnt && cd /mnt || exit 1
yes fadump-pressure | head -c 1048576 >block
filled=0
while [ $filled -lt {mib} ]; do cat block; filled=$((filled + 1)); done >all
stat -c %s all
"""


@dataclass(frozen=True)
class SavedDump:
    """A saved dump; ``cpu_count`` CPUs have registers in it."""

    verdict: Verdict
    cpu_count: int


class Scenario:
    """A guest with little memory for as long as the block runs; its files stay in ``directory``.

    ``modules`` are files of the kernel's that are loaded first, ``machine`` is the rest of its QemuConfig.
    """

    def __init__(self, directory, kernel, cmdline="", platform=Platform.PSERIES, memory_bytes=None, **machine):
        self.directory = directory
        self._memory_bytes = memory_bytes or MEMORY_BYTES[platform]
        self._make_machine = self._machine_for(kernel, cmdline, platform, **machine)
        self._fault_names = FAULT_NAMES[platform]
        self.firmware = FaultyFirmware(FIRMWARE[platform](), self._fault_names)
        self.patterned = RangeSet()
        """Where the pattern lay at the last crash."""
        self._filled = False
        self._ends = ExitStack()

    def _machine_for(self, kernel, cmdline, platform, modules=(), **machine):
        options = RunOptions(self.directory, WhichMachine.QEMU, platform, self._memory_bytes, cmdline=cmdline)
        config = QemuConfig(
            kernel=kernel.bootable,
            initrd=build_initramfs(modules=modules),
            cmdline=kernel_command_line(options),
            platform=platform,
            **{"nodes": (self._memory_bytes,)} | machine,
        )
        return partial(QemuMachine, config)

    def __enter__(self):
        self._ends.__enter__()
        self._output = self._ends.enter_context(OutputDirectory(self.directory, self._memory_bytes + 128 * MIB))
        self._verifier = self._ends.enter_context(Verifier())
        self.machine = self._ends.enter_context(self._make_machine(self._output.vmcore_fd, self._output.console_log))
        self.session = Session(self.machine, self.firmware, self._output.watch(Unwatched()), self)
        return self

    def __exit__(self, *error):
        return self._ends.__exit__(*error)

    def crashed(self, machine, cpus, crashing_cpu):
        """The session's inspector: keep what the verifier wants, and see where the pattern is."""
        self._verifier.crashed(machine, cpus, crashing_cpu)
        if not self._filled:
            return
        with CrashImage.take(machine.segments, cpus) as image:
            whole = PATTERN * (PAGE_BYTES // len(PATTERN))
            pages = (Range.sized(at, PAGE_BYTES) for at in range(0, self._memory_bytes, PAGE_BYTES))
            self.patterned = RangeSet(page for page in pages if image.read(page.start, PAGE_BYTES) == whole)

    def released(self, machine, dump):
        self._verifier.released(machine, dump)

    def hello(self):
        """Wait for the next boot."""
        return self.session.expect(Hello)

    def register(self):
        return self.session.ask(Register(), Registered)

    def do_wrong(self, *names):
        """From now on the firmware has these faults, as well as those that it has."""
        self.firmware.add(*(self._fault_names.parse(name) for name in names))

    def unregister(self):
        return self.session.ask(Unregister(), Unregistered)

    def crash(self, by=CrashBy.SYSRQ, cpu=0):
        """Crash, and wait for the boot after it."""
        self.session.crash(by, cpu)
        return self.hello()

    def run(self, script):
        """Run a script in the guest; returns its output."""
        ran = self.session.ask(RunScript(script), ScriptRan)
        output = ran.output.decode()
        assert ran.status == 0, output
        return output

    def reboot(self):
        """The guest's own reboot, and the boot after it."""
        return self.session.ask(RunScript("reboot -f"), Hello)

    def press_reset(self):
        """A reset that the guest knows nothing of, and the boot after it."""
        self.machine.press_reset()
        return self.hello()

    def fill(self, mib):
        """Write the pattern into so much of the guest's memory."""
        self._filled = True
        assert self.run(FILL.format(mib=mib)) == f"{mib * MIB}\n"

    def save(self):
        """Save /proc/vmcore and compare it with the machine at its (first) crash."""
        self.session.ask(Save(), Saving)
        self.session.expect(Saved)
        vmcore = self._output.vmcore_on_disk
        with ElfCore.open(vmcore) as core:
            cpu_count = sum(note.is_prstatus() for note in core.notes)
        return SavedDump(self._verifier.judge(vmcore, self.session.record.dump), cpu_count)

    def back_to_production(self):
        self.session.ask(Release(), Released)
        return self.session.ask(Reregister(), Registered)

    def calls(self):
        """The firmware's log, without the times."""
        lines = (self.directory / "firmware.log").read_text().splitlines()
        return [line.split(maxsplit=1)[1] for line in lines]

    def console(self):
        return (self.directory / "console.log").read_text(errors="replace")


class ModelScenario(Scenario):
    """The same with the model of Linux; ``kernel`` is its version. It runs no scripts."""

    def _machine_for(self, kernel, cmdline, platform):
        options = RunOptions(
            self.directory, platform=platform, memory_bytes=self._memory_bytes, cmdline=cmdline, kernel_version=kernel
        )
        return partial(EmbeddedMachine, embedded_config(options))
