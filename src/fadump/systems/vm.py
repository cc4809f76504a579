"""``fadump vm``: a machine with FADump firmware that lives until it is switched off, whatever system runs on it.

Nobody is asked for anything in the guest: its firmware calls, its resets and its console are all there is. A kernel
panic is the guest's own affair.
"""

import math
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from fadump.abi.platform import Platform
from fadump.errors import UsageError
from fadump.firmware.contract import Firmware
from fadump.firmware.powernv import PowernvFirmware
from fadump.firmware.pseries import Offer, PseriesFirmware
from fadump.machine.contract import StopAt
from fadump.machine.qemu.config import DEFAULT_QEMU, Drive, QemuConfig
from fadump.memory.ranges import Range, RangeSet
from fadump.observer import Observer, Seen
from fadump.printable import counted
from fadump.run.faults import Faults, system_fault_refusals, with_faults
from fadump.run.host import qemu_machine
from fadump.run.inputs import check_initramfs, check_kernel
from fadump.run.options import (
    MOST_CPUS,
    STOP_WITHOUT_GDB,
    offer_refusals,
    powernv_model_refusals,
    powernv_thread_refusals,
)
from fadump.run.qemu_files import kernel_to_run, qemu_to_run
from fadump.run.terminal import EndedError, Seat, standing
from fadump.session import PoweredOffError, Session
from fadump.systems.boot_watch import BootWatch
from fadump.systems.disks import open_drives, scratch_place
from fadump.systems.guest_ram import ram_directory

MIB, GIB = 1 << 20, 1 << 30
MEMORY_STEP = 256 * MIB
MOST_MEMORY = 1024 * GIB
_CMDLINES = {
    Platform.PSERIES: "console=hvc0 fadump=on crashkernel=512M",
    Platform.POWERNV: "console=hvc0 fadump=on",  # which takes no less than 768 MiB of boot memory
}
_LEAST_MEMORY = {Platform.PSERIES: GIB, Platform.POWERNV: 4 * GIB}


@dataclass(frozen=True, slots=True)
class VmOptions:
    """A machine as its user wants it. Without a kernel the first disk's boot loader is started."""

    kernel: Path | None = None
    initrd: Path | None = None
    cmdline: str | None = None
    disks: tuple[Path, ...] = ()
    snapshot: bool = False
    platform: Platform = Platform.PSERIES
    memory_bytes: int = 4 * GIB
    cpus: int = 2
    smt: int = 1
    cpu_model: str = "POWER9"
    user_network: bool = False
    strict: bool = False
    """The firmware protects no dump from Linux's bugs."""
    qemu: str = DEFAULT_QEMU
    qemu_arguments: tuple[str, ...] = ()
    offer: Offer = field(default_factory=Offer)
    faults: Faults = field(default_factory=Faults)
    """The firmware's only."""
    gdb_port: int | None = None
    stop_at: StopAt | None = None


@dataclass(frozen=True, slots=True)
class Life:
    """A machine from power-on to power-off: whether its guest switched it off, and how often each thing was seen."""

    powered_off: bool
    counts: Counter[Seen]


def check_machine(options: VmOptions) -> None:
    """Refuse what can't work, whatever is in the files.

    :raises UsageError: with the reason.
    """
    for refusal in _refusals(options):
        raise UsageError(refusal)


def check_options(options: VmOptions) -> None:
    """Refuse what can't work, before anything is started.

    :raises UsageError: with the reason.
    :raises SetupError: a file isn't there, or can't be read.
    """
    check_machine(options)
    if options.kernel is not None:
        check_kernel(options.kernel)
    if options.initrd is not None:
        check_initramfs(options.initrd)


def _refusals(options: VmOptions) -> Iterator[str]:
    powernv = options.platform is Platform.POWERNV
    if options.kernel is None and not options.disks:
        yield "there is nothing to boot: give a --disk with a boot loader, or a --kernel"
    if options.kernel is None and (options.initrd is not None or options.cmdline is not None):
        yield "--initrd and --cmdline go with --kernel: a boot loader has its own"
    if options.kernel is None and powernv:
        yield "--platform powernv needs a --kernel: QEMU's powernv starts no boot loader from a disk"
    least = _LEAST_MEMORY[options.platform]
    if options.memory_bytes % MEMORY_STEP or not least <= options.memory_bytes <= MOST_MEMORY:
        asked = f"{options.memory_bytes // MIB} MiB"
        yield f"--memory must be from {least // GIB} to {MOST_MEMORY // GIB} GiB, in steps of 256 MiB, {asked} is not"
    if not 1 <= options.cpus <= MOST_CPUS:
        yield f"--cpus must be from 1 to {MOST_CPUS}, {options.cpus} is not"
    if options.smt not in (1, 2, 4, 8) or options.cpus % options.smt:
        yield f"--smt must be 1, 2, 4 or 8 and divide --cpus, {options.smt} is not"
    yield from offer_refusals(options.offer, options.platform, RangeSet([Range(0, options.memory_bytes)]))
    if options.stop_at is not None and options.gdb_port is None:
        yield STOP_WITHOUT_GDB
    yield from system_fault_refusals(options.faults, options.platform)
    if powernv:
        yield from powernv_thread_refusals(options.smt)
        yield from powernv_model_refusals(options.cpu_model)


class VmObserver(Observer, Protocol):
    """Is told what the firmware sees, and what it can't see."""

    def remark(self, name: str, sentence: str, at_seconds: float) -> None:
        """Something about the system, as a word for programs and a sentence for people."""


def run_vm(options: VmOptions, observer: VmObserver, seat: Seat) -> Life:
    """Power a machine on and serve it until it is off, for whoever sits at it.

    :raises UsageError: what is asked for can't be.
    :raises SetupError: something is missing.
    :raises MachineError: the machine has stopped, and nobody has switched it off.
    """
    check_options(options)
    ram_place = ram_directory(options.memory_bytes, options.memory_bytes, scratch_place())
    if ram_place is not None:
        seat.say(
            f"this computer has less memory available than the guest's {options.memory_bytes // MIB} MiB: they are a "
            f"file on the disk of {ram_place}, which takes as much of it as the guest writes"
        )
    with ExitStack() as ends:
        drives = ends.enter_context(open_drives(options.disks, snapshot=options.snapshot))
        config = replace(machine_config(options, drives), ram_directory=ram_place)
        watch = BootWatch(seat.screen)
        machine = ends.enter_context(qemu_machine()(config, None, watch))
        serve_seat = ends.enter_context(seat.taken(machine, lambda: _where(session)))

        def called() -> None:
            serve_seat()
            if options.kernel is None:
                watch.look(machine, lambda name, sentence: observer.remark(name, sentence, session.seconds))

        session = Session(machine, make_firmware(options), observer, silence_seconds=math.inf, called=called)
        if options.kernel is None:
            watch.begin(machine)
        powered_off = _serve(session)
        return Life(powered_off, session.record.counts)


def make_firmware(options: VmOptions) -> Firmware:
    """The firmware that is asked for."""
    powernv = options.platform is Platform.POWERNV
    return with_faults(
        PowernvFirmware() if powernv else PseriesFirmware(strict=options.strict, offer=options.offer), options.faults
    )


def machine_config(options: VmOptions, drives: tuple[Drive, ...]) -> QemuConfig:
    """The machine that is asked for, with these drives; what is missing of it is fetched.

    :raises SetupError: something can't be had.
    """
    return QemuConfig(
        kernel=None if options.kernel is None else kernel_to_run(options.kernel).bootable,
        initrd=options.initrd,
        cmdline=_CMDLINES[options.platform] if options.cmdline is None else options.cmdline,
        platform=options.platform,
        cpus=options.cpus,
        smt=options.smt,
        nodes=(options.memory_bytes,),
        cpu_model=options.cpu_model,
        qemu=qemu_to_run(options.qemu),
        drives=drives,
        user_network=options.user_network,
        extra_arguments=options.qemu_arguments,
        has_guest_channel=False,
        gdb_port=options.gdb_port,
        stop_at=options.stop_at,
    )


def _serve(session: Session) -> bool:
    """Until the guest powers the machine off (True), or whoever sits there ends it (False)."""
    while True:
        try:
            session.serve()
        except PoweredOffError:
            return True
        except EndedError:
            return False


def _where(session: Session) -> str:
    seen = session.record.counts
    dumps, resets = counted(seen[Seen.PRESERVED], "dump"), counted(seen[Seen.RESET], "reset")
    return f"{standing(session.firmware_state)}, after {dumps} and {resets}"
