"""A system's need, measured: crashed again and again with more or less boot memory, until the edge is known."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from fadump.errors import FadumpError, UsageError
from fadump.kernel.plan.boot_memory import LARGEST_SHARE
from fadump.kernel.plan.need import CaptureSystem, capture_need, early_bytes
from fadump.kernel.traits import MIB, align_down, least_boot_memory_bytes
from fadump.progress import Step, moving
from fadump.run.console import CONSOLE_LOG, telling_log
from fadump.systems.rehearsal import Patience
from fadump.systems.rehearse import RehearsalOptions, check_rehearsal
from fadump.systems.size.boot_memory import TriedBootMemory
from fadump.systems.size.probe import Probe, ProbeResult, try_boot_memory
from fadump.systems.size.search import Edge, find_edge

STEP_BYTES = 8 * MIB
_GUESS = 1.25
"""A first try that does, and tells how long a good one takes, spares waiting for one that doesn't."""
_SLOWER = 4
"""So many times as long as a good try, nothing comes of it any more."""
_LEAST_SECONDS = 60.0
_LEAST_IDLE_SECONDS = 30.0
"""A service may begin after the login prompt is there."""
Try = Callable[[RehearsalOptions, TriedBootMemory], Probe]


class SizeError(FadumpError):
    """No size could be found; ``probes`` are what was tried."""

    def __init__(self, sentence: str, probes: Sequence[Probe]) -> None:
        self.probes = probes
        super().__init__(sentence)


@dataclass(frozen=True, slots=True)
class Measurement:
    """The tries, in their order, and what they have come to.

    ``edge`` is of what the capture kernel had, which may be less than ``floor_bytes``, the least that FADump takes.
    """

    floor_bytes: int
    probes: Sequence[Probe]
    edge: Edge

    @property
    def needed_bytes(self) -> int:
        """The least that was seen to do."""
        return self.edge.least_bytes

    @property
    def minimum_bytes(self) -> int:
        """The same, but no less than FADump takes."""
        return max(self.needed_bytes, self.floor_bytes)


def check_size(options: RehearsalOptions) -> None:
    """Refuse what can't be, before anything is started.

    :raises UsageError: with the reason.
    :raises SetupError: a file isn't there, or can't be read.
    """
    check_rehearsal(options)
    if options.vm.gdb_port is not None:
        raise UsageError("--gdb goes with a single crash: give it to fadump rehearse")
    least_bytes = least_boot_memory_bytes(options.vm.platform) * LARGEST_SHARE
    if options.vm.memory_bytes < least_bytes:
        raise UsageError(
            f"--memory must be {least_bytes // MIB} MiB or more: FADump takes no less than a quarter of that, and "
            "crashkernel= gets no more of RAM"
        )


def measure(options: RehearsalOptions, told: Callable[[Probe], None], attempt: Try = try_boot_memory) -> Measurement:
    """Find the least boot memory with which the system of these options saves its dump; ``told`` hears of each try.

    :raises SizeError: there is none.
    :raises FadumpError: as :func:`.rehearse`.
    """
    vm = options.vm
    floor_bytes = least_boot_memory_bytes(vm.platform)
    guess = capture_need(CaptureSystem(), vm.memory_bytes, vm.cpus)
    most_bytes = align_down(vm.memory_bytes // LARGEST_SHARE, STEP_BYTES)
    probes: list[Probe] = []
    patience = options.patience

    def does(size_bytes: int) -> bool:
        nonlocal patience
        tried = tried_with(size_bytes, floor_bytes)
        out = options.out / f"try-{len(probes) + 1}"
        trying = Step(f"trying {size_bytes // MIB} MiB of boot memory")
        with telling_log(out / CONSOLE_LOG), moving(trying):
            probe = attempt(replace(options, out=out, patience=patience), tried)
        probes.append(probe)
        told(probe)
        if probe.result in (ProbeResult.FALLBACK, ProbeResult.NOT_REGISTERED):
            raise SizeError(_unregistered(probe), probes)
        if probe.result is ProbeResult.SAVED and probe.saving_seconds is not None:
            patience = _patience(options.patience, probe.saving_seconds)
        return probe.result is ProbeResult.SAVED

    edge = find_edge(does, int(guess.size_bytes * _GUESS), most_bytes, STEP_BYTES)
    if edge is None:
        last = probes[-1]
        raise SizeError(
            f"not even {last.boot_memory.size_bytes // MIB} MiB of boot memory, a quarter of RAM, are enough: "
            f"{last.result}: {last.error}; give more --memory",
            probes,
        )
    return Measurement(floor_bytes, tuple(probes), edge)


def tried_with(size_bytes: int, floor_bytes: int) -> TriedBootMemory:
    """So much for the capture kernel, and for the first one what FADump takes."""
    crashkernel_bytes = max(size_bytes, floor_bytes)
    return TriedBootMemory(crashkernel_bytes, crashkernel_bytes - size_bytes)


def measured_system(measurement: Measurement, cpus: int) -> CaptureSystem | None:
    """The model's system that needs what was measured; None if its console doesn't say what its kernel took.

    What was taken before user space ran is known; less what the model makes of the RAM and the CPUs, it is the
    kernel's. What was needed beside all that is user space's.
    """
    good = _smallest_good(measurement.probes)
    if good is None or good.early_bytes is None or good.page_bytes is None:
        return None
    memory_bytes, page_bytes = good.memory_bytes, good.page_bytes
    others_bytes = early_bytes(memory_bytes, page_bytes, cpus, good.boot_memory.size_bytes) + good.initrd_bytes
    kernel_bytes = max(0, good.early_bytes - others_bytes)
    system = CaptureSystem(page_bytes, kernel_bytes, good.initrd_bytes, user_space_bytes=0)
    without = capture_need(system, memory_bytes, cpus)
    rest_bytes = measurement.needed_bytes - without.size_bytes + without.user_space_bytes
    return replace(system, user_space_bytes=good.initrd_bytes + max(0, rest_bytes))


def _smallest_good(probes: Sequence[Probe]) -> Probe | None:
    saved = [probe for probe in probes if probe.result is ProbeResult.SAVED]
    return min(saved, key=lambda probe: probe.boot_memory.size_bytes, default=None)


def _patience(usual: Patience, good_seconds: float) -> Patience:
    saving = min(usual.saving, max(_LEAST_SECONDS, _SLOWER * good_seconds))
    return replace(usual, saving=saving, idle=min(usual.idle, max(_LEAST_IDLE_SECONDS, good_seconds)))


def _unregistered(probe: Probe) -> str:
    asked = f"crashkernel={probe.boot_memory.crashkernel_bytes // MIB}M"
    if probe.result is ProbeResult.FALLBACK:
        return f"Linux refuses {asked} and reserves for kdump instead: {probe.error}"
    return f"with {asked} on its command line: {probe.error}"
