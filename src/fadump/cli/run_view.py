"""What a person sees of a run: the timeline as it happens, what is waited for, and where the files are."""

import shlex
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from fadump.cli.typed import fadump_command, program
from fadump.firmware.contract import Answer, FirmwareCall, Outcome, PreservedDump, PreservedRegion, Trigger
from fadump.look import Look
from fadump.machine.channel import KdumpLoaded, Report, Saving, SavingProgress
from fadump.machine.contract import Handover
from fadump.memory.ranges import Range
from fadump.observer import Milestone, Seen
from fadump.patience import MOST_EQUAL_CALLS
from fadump.printable import counted
from fadump.progress import PLAIN_INTERVAL_SECONDS, Step, Tone
from fadump.run.output import call_text, outcome_text
from fadump.run.run import JudgedCycle, RunResult

if TYPE_CHECKING:
    from fadump.proof.verify import Verdict

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
_AHEAD = {
    Milestone.POWER_ON: "the kernel boots and registers",
    Milestone.REGISTERED: "the crash",
    Milestone.CRASH: "the firmware copies boot memory and CPU state aside",
    Milestone.PRESERVED: "the machine is reset, and enters the capture kernel",
    Milestone.CAPTURE_BOOT: "the capture kernel boots",
    Milestone.VMCORE_READY: "/proc/vmcore is saved",
    Milestone.SAVED: "the preserved memory is released",
    Milestone.RELEASED: "the kernel registers again",
    Milestone.PRODUCTION: "the dump is put in its place",
}
"""What is waited for once something is reached."""
_KDUMP_TEXTS = {
    Milestone.CRASH: "crash: the kernel starts its crash kernel, without the firmware",
    Milestone.CAPTURE_BOOT: "the crash kernel is entered, without a reset",
}


def _unknown() -> None:
    """Nobody knows."""


class _Repeated:
    """A call that is made again as long as it is refused, as a busy firmware is asked by Linux."""

    def __init__(self) -> None:
        self._call: FirmwareCall | None = None
        self._times = 0
        self._due_seconds = 0.0

    def told(self, call: FirmwareCall, outcome: Outcome, at_seconds: float) -> int | None:
        """How often it has been made by now, if that is to be told again."""
        refused = isinstance(outcome, Answer) and outcome.status != 0
        if not refused or call != self._call:
            self._call, self._times = call if refused else None, int(refused)
            self._due_seconds = at_seconds + PLAIN_INTERVAL_SECONDS
            return None
        self._times += 1
        if at_seconds < self._due_seconds:
            return None
        self._due_seconds = at_seconds + PLAIN_INTERVAL_SECONDS
        return self._times


class RunView:
    """Tells of a run as it goes on, and of what it has come to."""

    def __init__(self, look: Look, *, verbose: bool = False, panic: Callable[[], str | None] = _unknown) -> None:
        """With ``verbose`` each call of the firmware is a line, too, and the dump's memory map is shown. ``panic`` says
        why the kernel has crashed, if that is known by now and hasn't been asked for."""
        self._look = look
        self._verbose = verbose
        self._texts = _TEXTS
        self._repeated = _Repeated()
        self._panic = panic
        self._saving: Step | None = None
        self._vmcore_bytes: int | None = None

    def milestone(self, milestone: Milestone, at_seconds: float) -> None:
        crashes = milestone is Milestone.CRASH
        self._look.reached(self._texts[milestone], at_seconds, Tone.BAD if crashes else Tone.DONE)
        if milestone in (Milestone.CRASH, Milestone.PRESERVED) and (panic := self._panic()):
            self._look.more(f"panic: {panic}", Tone.BAD)
        if milestone is Milestone.VMCORE_READY:
            self._saving = self._look.ahead(_AHEAD[milestone], self._vmcore_bytes, "bytes")
        else:
            self._look.ahead(_AHEAD[milestone])

    def handed_over(self, handover: Handover) -> None:
        """The milestones tell it."""

    def firmware_call(self, call: FirmwareCall, outcome: Outcome, at_seconds: float) -> None:
        """The firmware's log has it in any case."""
        times = self._repeated.told(call, outcome, at_seconds)
        if self._verbose:
            self._look.reached(f"firmware: {call_text(call)} -> {outcome_text(outcome)}", at_seconds, Tone.NOTE)
        elif times is not None:
            self._look.reached(
                f"the kernel asks the firmware again: {times:,} times by now, of at most {MOST_EQUAL_CALLS:,}: "
                f"{call_text(call)} -> {outcome_text(outcome)}",
                at_seconds,
                Tone.NOTE,
            )

    def seen(self, seen: Seen, at_seconds: float) -> None:
        """The milestones tell it."""

    def terminated(self, trigger: Trigger, at_seconds: float) -> None:
        """The milestone tells it."""

    def preserved(self, dump: PreservedDump, at_seconds: float) -> None:
        if self._verbose:
            self._look.more("memory map of the dump")
            for extent, text in sorted(_rows(dump), key=lambda row: row[0].start):
                self._look.more(f"{extent.start:#012x} .. {extent.end:#012x} {_size(extent):>11}  {text}")

    def report(self, report: Report) -> None:
        """Steps show as milestones; what else the guest says is for the logs, but for a fallback to kdump."""
        match report:
            case KdumpLoaded():
                self._texts = _TEXTS | _KDUMP_TEXTS
                self._look.more(f"{fell_back_text(report)}; a crash kernel is loaded")
            case Saving():
                self._vmcore_bytes = report.vmcore_bytes
            case SavingProgress() if self._saving is not None:
                self._saving.update(report.written_bytes)

    def remark(self, sentence: str) -> None:
        """A line of its own."""
        self._print(f"remark: {sentence}")

    def cycle_begins(self, number: int, count: int) -> None:
        """A heading, if there is more than one cycle."""
        self._look.begin()
        if count > 1:
            self._print(f"{'' if number == 1 else chr(10)}cycle {number} of {count}")

    def summary(self, result: RunResult, *, quiet: bool = False) -> None:
        """The end: what was saved and where, whether it is right, and unless ``quiet`` how to look at it."""
        cycles = [judged.cycle for judged in result.cycles]
        last, resets = cycles[-1], counted(sum(cycle.reboots for cycle in cycles), "reset")
        times = "" if len(cycles) == 1 else f" {len(cycles)} times"
        crashed = f"Linux {last.kernel_release} crashed{times} with {counted(last.cpus, 'CPU')}"
        if not quiet:
            self._print("")
        if last.kdump is None:
            self._print(
                f"{crashed}, was dumped and is in production again: {resets}, "
                f"{last.memory_released / _MIB:.0f} MiB released{times and ' each time'}."
            )
        else:
            self._print(f"{crashed}, and was dumped by kdump, not by FADump: {fell_back_text(last.kdump)}.")
        for judged in result.cycles:
            if judged.verdict is not None:
                self._verdict(judged.verdict)
            for freed in judged.freed:
                if freed.kept:
                    self.remark(str(freed))
            self._print(_dump_line(judged))
        for hint in () if quiet else hints(result):
            self._print(hint)

    def _verdict(self, verdict: "Verdict") -> None:
        self._print(verified_text(verdict) if verdict.same else different_text(verdict))
        memory = verdict.memory
        if verdict.remark is not None:
            self._print(f"remark: {verdict.remark}")
        for left_out in memory.excluded:
            self._print(f"  not compared: {left_out.range}, {left_out.reason}")
        if verdict.hash_table is not None and verdict.hash_table.not_compared is not None:
            self._print(f"  not compared: the hash page table, {verdict.hash_table.not_compared}")
        for difference in memory.differences:
            self._print(f"  different: {difference}")
        if memory.difference_count > len(memory.differences):
            self._print(f"  and {counted(memory.difference_count - len(memory.differences), 'more range')}")
        for sentence in verdict.registers or ():
            self._print(f"  {sentence}")

    def _print(self, line: str) -> None:
        self._look.say(line)


def fell_back_text(kdump: KdumpLoaded) -> str:
    """Why a dump is kdump's."""
    reason = "" if kdump.reason is None else f" ({kdump.reason})"
    return f"Linux has not registered: it has reserved {kdump.area.size_bytes >> 20} MiB for kdump instead{reason}"


def verified_text(verdict: "Verdict") -> str:
    """What is said of a dump that is the machine at its crash."""
    memory = verdict.memory
    if verdict.registers is None:
        compared = f"{counted(memory.bytes_compared, 'byte')} of memory"
        return f"verified: {compared} are as they were when the crash kernel began; registers were not compared"
    others = "" if verdict.opal is None else f", {counted(verdict.opal.bytes_compared, 'byte')} of OPAL's core"
    table = verdict.hash_table
    if table is not None and table.bytes_compared:
        others += f", {counted(table.bytes_compared, 'byte')} of the hash page table"
    left_out = f"; {counted(memory.bytes_excluded, 'byte')} not compared" if memory.bytes_excluded else ""
    compared = f"{counted(memory.bytes_compared, 'byte')} of memory{others} and all registers"
    return f"verified: {compared} are as they were at the crash{left_out}"


def different_text(verdict: "Verdict") -> str:
    """What is said of one that isn't."""
    memory, opal, differences = verdict.memory, verdict.opal, []
    if memory.bytes_different:
        differences.append(f"{counted(memory.bytes_different, 'byte')} of {memory.bytes_compared:,}")
    if opal is not None and opal.bytes_different:
        differences.append(f"{counted(opal.bytes_different, 'byte')} of {opal.bytes_compared:,} in OPAL's core")
    table = verdict.hash_table
    if table is not None and table.bytes_different:
        differences.append(
            f"{counted(table.bytes_different, 'byte')} of {table.bytes_compared:,} in the hash page table"
        )
    if verdict.registers:
        differences.append(counted(len(verdict.registers), "difference") + " in registers")
    return f"different from the machine at its crash: {', '.join(differences)}"


def _dump_line(judged: JudgedCycle) -> str:
    saved = judged.saved
    smaller = "" if saved is None else f", saved in {saved.size_bytes / _MIB:.1f} MiB at level {int(saved.level)}"
    return f"{judged.vmcore}: {judged.cycle.vmcore_bytes / _MIB:.0f} MiB{smaller}"


def hints(result: RunResult) -> Iterator[str]:
    """How to look at the last dump, in lines that can be typed as they stand, any number of times.

    drgn finds the registers of CPU 0 only in a dump that :mod:`fadump.capture` has saved.
    """
    judged = result.cycles[-1]
    yield f"look at it:  {fadump_command('show', judged.vmcore)}"
    if result.vmlinux is None or (drgn := program("drgn")) is None:
        return
    if judged.saved is not None:
        yield f"with drgn:   {shlex.join([drgn, '-c', str(judged.vmcore), '-s', str(result.vmlinux)])}"
        return
    kdump = judged.vmcore.with_name(f"{judged.vmcore.name}.kdump")
    unless_there = f"[ -e {shlex.quote(str(kdump))} ] || {fadump_command('save', judged.vmcore, kdump)}"
    look = shlex.join([drgn, "-c", str(kdump), "-s", str(result.vmlinux)])
    yield f"with drgn:   {unless_there} && {look}"


def _rows(dump: PreservedDump) -> list[tuple[Range, str]]:
    rows = [(Range.sized(r.destination, r.requested_bytes), _text(r)) for r in dump.regions if r.requested_bytes]
    rows += [(extent, "boot memory, used by the capture kernel") for extent in dump.boot_memory]
    return rows


def _text(region: PreservedRegion) -> str:
    return region.name if region.source in (0, region.destination) else f"{region.name} from {region.source:#x}"


def _size(extent: Range) -> str:
    size_bytes = extent.size_bytes
    return f"{size_bytes / _MIB:.0f} MiB" if size_bytes >= _MIB else f"{size_bytes / 1024:.0f} KiB"
