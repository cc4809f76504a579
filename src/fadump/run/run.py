"""``fadump run``: set a machine up, take it through one cycle, and leave its files.

The story of the crash itself is in :mod:`fadump.cycle`; this is what surrounds it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fadump.capture.in_place import save_in_place
from fadump.capture.save import Saved
from fadump.cycle import CycleResult, run_cycle
from fadump.machine.contract import Machine
from fadump.proof.verify import Verdict, Verifier
from fadump.run.faults import NeverStruck, never_struck
from fadump.run.host import check_host
from fadump.run.options import RunOptions, check_options
from fadump.run.output import OutputDirectory
from fadump.run.parts import Parts, make_parts
from fadump.session import Observer


@dataclass(frozen=True, slots=True)
class JudgedCycle:
    """A finished cycle and, if it was asked for, the verdict about its dump."""

    cycle: CycleResult
    verdict: Verdict | None

    @property
    def good(self) -> bool:
        """The dump is saved, and nothing in it is known to be wrong."""
        return self.verdict is None or self.verdict.same


@dataclass(frozen=True, slots=True)
class RunResult:
    """The cycles of a run; ``vmcore`` is the last one's, ``vmlinux`` the kernel with debug information, if known.

    ``saved`` says how the dump was saved, None: as it was. ``never_struck`` are faults that the run
    came to its end without.
    """

    cycles: Sequence[JudgedCycle]
    vmcore: Path | None
    vmlinux: Path | None
    saved: Saved | None = None
    never_struck: Sequence[NeverStruck] = ()

    @property
    def good(self) -> bool:
        """Every cycle is."""
        return all(judged.good for judged in self.cycles)


def run(options: RunOptions, observer: Observer) -> RunResult:
    """Run one cycle, or several on the same machine, which is not reset between them.

    ``observer`` sees what happens as it happens; the output directory keeps it.

    :raises SetupError: something is missing, or asked for more than the machine can be; the sentence says what.
    :raises MachineError: a cycle did not come to its end.
    """
    check_options(options)
    check_host(options)
    parts = make_parts(options)
    with OutputDirectory(options.out, options.disk_bytes) as output:
        try:
            with parts.make_machine(output.vmcore_fd, output.console_log) as machine:
                cycles = _run_cycles(machine, parts, options, output, output.watch(observer))
        finally:  # a dump that was saved is kept, whatever failed after it
            vmcore = output.publish_saved()
        saved = None if vmcore is None or options.save is None else save_in_place(vmcore, options.save, parts.vmlinux)
        missed = never_struck(options.faults, parts.firmware, [judged.cycle for judged in cycles])
        return RunResult(cycles, vmcore, parts.vmlinux, saved, missed)


def _run_cycles(
    machine: Machine, parts: Parts, options: RunOptions, output: OutputDirectory, observer: Observer
) -> Sequence[JudgedCycle]:
    done: list[JudgedCycle] = []
    for _cycle in range(options.cycles):
        before = done[-1].cycle if done else None
        if options.verify:
            with Verifier() as verifier:
                result = run_cycle(machine, parts.firmware, parts.request, observer, verifier, before)
                done.append(JudgedCycle(result, verifier.judge(output.vmcore_on_disk, result.dump, output.opalcore)))
        else:
            done.append(JudgedCycle(run_cycle(machine, parts.firmware, parts.request, observer, before=before), None))
    return done
