"""What a person sees of a run: the timeline as it happens, the memory map, and where the files are."""

from typing import TextIO

from fadump.firmware.contract import FirmwareCall, Outcome, PreservedDump, PreservedRegion, Trigger
from fadump.machine.channel import Report
from fadump.memory.ranges import Range
from fadump.proof.verify import Verdict
from fadump.run.run import RunResult
from fadump.session import Milestone

_MIB = 1 << 20
_TEXTS = {
    Milestone.POWER_ON: "power on",
    Milestone.REGISTERED: "the kernel has registered with the firmware",
    Milestone.CRASH: "crash: the firmware takes over",
    Milestone.PRESERVED: "the firmware has copied boot memory and CPU state aside",
    Milestone.CAPTURE_BOOT: "reset, and the capture kernel is entered",
    Milestone.VMCORE_READY: "/proc/vmcore is there",
    Milestone.SAVED: "/proc/vmcore is saved",
    Milestone.RELEASED: "the preserved memory is released",
    Milestone.PRODUCTION: "registered again: in production",
}


class RunView:
    """Prints a run to a stream, line by line, on a terminal and elsewhere alike."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def milestone(self, milestone: Milestone, at_seconds: float) -> None:
        self._print(f"{at_seconds:8.2f} s  {_TEXTS[milestone]}")

    def firmware_call(self, call: FirmwareCall, outcome: Outcome, at_seconds: float) -> None:
        """The firmware's log has it."""

    def terminated(self, trigger: Trigger, at_seconds: float) -> None:
        """The milestone tells it."""

    def preserved(self, dump: PreservedDump, at_seconds: float) -> None:
        self._print("")
        self._print("            memory map of the dump")
        for region in sorted(_rows(dump), key=lambda row: row[0].start):
            extent, text = region
            self._print(f"            {extent.start:#012x} .. {extent.end:#012x} {_size(extent):>11}  {text}")
        self._print("")

    def report(self, report: Report) -> None:
        """Steps show as milestones; what else the guest says is for the logs."""

    def summary(self, result: RunResult) -> None:
        """The end: what was saved and where, whether it is right, and how to look at it."""
        cycle = result.cycles[-1].cycle
        self._print("")
        self._print(
            f"Linux {cycle.kernel_release} crashed with {cycle.cpus} CPUs, was dumped and is in production again: "
            f"{cycle.reboots} reset, {cycle.memory_released / _MIB:.0f} MiB released."
        )
        for judged in result.cycles:
            if judged.verdict is not None:
                self._verdict(judged.verdict)
        saved = result.saved
        smaller = "" if saved is None else f", saved in {saved.size_bytes / _MIB:.1f} MiB at level {int(saved.level)}"
        self._print(f"{result.vmcore}: {cycle.vmcore_bytes / _MIB:.0f} MiB{smaller}")
        drgn = f"drgn -c {result.vmcore} -s {result.vmlinux}"
        self._print(f"look at it:  {drgn if result.vmlinux else f'fadump show {result.vmcore}'}")

    def _verdict(self, verdict: Verdict) -> None:
        memory = verdict.memory
        self._print(
            f"verified: {memory.bytes_compared:,} bytes compared with the machine at its crash, "
            f"{memory.bytes_different:,} different, {memory.bytes_excluded:,} excluded"
        )
        for left_out in memory.excluded:
            self._print(f"  excluded: {left_out.range}, {left_out.reason}")
        if (opal := verdict.opal) is not None:
            self._print(f"OPAL's core: {opal.bytes_compared:,} bytes compared, {opal.bytes_different:,} different")
        for difference in memory.differences:
            self._print(f"  different: {difference}")
        if memory.difference_count > len(memory.differences):
            self._print(f"  and {memory.difference_count - len(memory.differences)} more ranges")
        for sentence in verdict.registers:
            self._print(f"  {sentence}")

    def _print(self, line: str) -> None:
        print(line, file=self._stream, flush=True)


def _rows(dump: PreservedDump) -> list[tuple[Range, str]]:
    rows = [(Range.sized(r.destination, r.requested_bytes), _text(r)) for r in dump.regions if r.requested_bytes]
    rows += [(extent, "boot memory, used by the capture kernel") for extent in dump.boot_memory]
    return rows


def _text(region: PreservedRegion) -> str:
    return region.name if region.source in (0, region.destination) else f"{region.name} from {region.source:#x}"


def _size(extent: Range) -> str:
    size_bytes = extent.size_bytes
    return f"{size_bytes / _MIB:.0f} MiB" if size_bytes >= _MIB else f"{size_bytes / 1024:.0f} KiB"
