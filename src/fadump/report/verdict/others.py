"""Ends that no function of the kernel is to blame for: on purpose, by the hardware, or as the first program ended."""

import re

from fadump.report.verdict.contract import Certainty, Evidence, Verdict

_RESET, _MACHINE_CHECK = 0x100, 0x200


def of_purpose(evidence: Evidence) -> Verdict | None:
    """SysRq c."""
    if "Trigger a crash" not in evidence.cause and "sysrq triggered crash" not in evidence.panic:
        return None
    task = None if evidence.summary.ending is None else evidence.summary.ending.task
    by = "somebody at the console" if task is None else f"{task.name} (PID {task.pid})"
    what = "The system was crashed on purpose, by SysRq c"
    step = "Ask who did it; the kernel is not to blame."
    return Verdict(what, evidence.where, by, Certainty.CERTAIN, evidence.from_log, step)


def of_hardware(evidence: Evidence) -> Verdict | None:
    """A machine check, or a system reset interrupt."""
    trap = evidence.cpu.registers["trap"] if evidence.cpu is not None else 0
    if re.search(r"(?i)machine check|MCE", evidence.cause + evidence.panic) or trap == _MACHINE_CHECK:
        because = evidence.from_log or ["the CPU took a machine check interrupt"]
        step = "Look at the firmware's error log of that time, and at the messages before the first sign."
        what = "The processor reported a machine check"
        return Verdict(what, evidence.where, "the hardware", Certainty.LIKELY, because, step)
    if trap == _RESET and not evidence.panic and not evidence.cause:
        because = ["a CPU took a system reset interrupt (NMI), and the log has no error before it"]
        step = "Ask who asked for a dump: an operator, the management console, or the hypervisor."
        what = "A dump was asked for from outside, by a system reset interrupt"
        return Verdict(what, evidence.where, "an operator, or the platform", Certainty.LIKELY, because, step)
    return None


def of_init(evidence: Evidence) -> Verdict | None:
    """The first program ended, or was never found."""
    if "Attempted to kill init" in evidence.panic or "No working init" in evidence.panic:
        what, blame = "The first program, init, ended", "init"
        step = "Look at the log before it: a file system or a library that init needs may have gone."
    elif "Unable to mount root fs" in evidence.panic:
        what, blame = "The root file system was not found", "the boot configuration"
        step = "Look at root= on the command line, and whether the disk's driver is in the kernel or the initramfs."
    else:
        return None
    return Verdict(what, evidence.where, blame, Certainty.LIKELY, [f"the panic says: {evidence.panic}"], step)
