"""What happened, who is to blame, and how sure that is: by the log's messages and the crashing stack.

The messages are Linux's: arch/powerpc/kernel/traps.c and arch/powerpc/mm/fault.c, kernel/panic.c, kernel/watchdog.c and
arch/powerpc/kernel/watchdog.c, kernel/hung_task.c, kernel/rcu/tree_stall.h, mm/oom_kill.c, lib/bug.c. Nothing here is
more than a first opinion, and each says what it rests on.
"""

from fadump.report.findings import Findings
from fadump.report.verdict.contract import Certainty, Evidence, Verdict, gather
from fadump.report.verdict.faults import of_bug, of_fault, of_panic, of_stack_protector
from fadump.report.verdict.lack_of_memory import of_lack_of_memory
from fadump.report.verdict.others import of_hardware, of_init, of_purpose
from fadump.report.verdict.stuck import of_hung_task, of_lockup

__all__ = ["Certainty", "Verdict", "judge"]

_JUDGEMENTS = (
    *(of_purpose, of_hardware, of_hung_task, of_lockup, of_lack_of_memory, of_init),
    *(of_stack_protector, of_bug, of_fault, of_panic),
)
"""The first that has a verdict counts."""


def judge(findings: Findings) -> Verdict:
    """A verdict by what has been found in a dump."""
    evidence = gather(findings)
    verdicts = (judgement(evidence) for judgement in _JUDGEMENTS)
    return next((verdict for verdict in verdicts if verdict is not None), None) or _unknown(evidence)


def _unknown(evidence: Evidence) -> Verdict:
    has_log = evidence.summary.log_end is not None
    because = "the log has neither a panic nor an error" if has_log else "the dump has no log that can be read"
    step = "Ask whether the platform or an operator ended it; look at what each CPU did."
    return Verdict("What ended the system isn't said", evidence.where, None, Certainty.UNKNOWN, [because], step)
