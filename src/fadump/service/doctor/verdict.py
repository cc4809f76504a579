"""The verdict: would a crash now be saved, by whom, and where to."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from fadump.service.doctor.findings import Check, Finding, Severity
from fadump.service.doctor.machine import Machine
from fadump.service.doctor.savers import Saver, Service

_NOT = "A crash now would NOT be saved: {}."


class Outcome(StrEnum):
    """What would become of a crash; of a configuration, whether it can be used."""

    SAVED = "saved"
    SAVED_BY_KDUMP = "saved-by-kdump"
    NOT_SAVED = "not-saved"
    RIGHT = "right"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Verdict:
    """``saver`` is who would save the dump, None for nobody."""

    outcome: Outcome
    sentence: str
    saver: Saver | None = None


def judge(machine: Machine, savers: Sequence[Saver], findings: Sequence[Finding]) -> Verdict:
    """What would become of a crash now."""
    if machine.has_dump:
        return Verdict(Outcome.NOT_SAVED, _NOT.format("the dump of an earlier one still waits to be saved"))
    saving = [saver for saver in savers if saver.saves]
    if machine.enabled and machine.registered:
        return _of_registered(saving, findings)
    why = _why_not(findings)
    if machine.kdump_loaded:
        saver = next((saver for saver in saving if saver.service is not Service.OURS), None)
        by = f"kdump ({saver.name}), to {saver.place}" if saver else "kdump"
        return Verdict(Outcome.SAVED_BY_KDUMP, f"A crash now would be saved by {by}, not by firmware: {why}.", saver)
    if not machine.enabled and machine.kdump_bytes:
        why += f"; {machine.kdump_bytes >> 20} MiB are reserved for kdump instead, but no kernel is loaded for it"
    return Verdict(Outcome.NOT_SAVED, _NOT.format(why))


def _of_registered(saving: Sequence[Saver], findings: Sequence[Finding]) -> Verdict:
    unusable = _critical(findings, Check.KERNEL) or _critical(findings, Check.TARGET)
    if unusable is not None:
        return Verdict(Outcome.NOT_SAVED, _NOT.format(unusable))
    if saving:
        saver = saving[0]
        return Verdict(Outcome.SAVED, f"A crash now would be saved to {saver.place} by {saver.name}.", saver)
    nobody = _critical(findings, Check.SERVICE) or "no service saves it"
    return Verdict(Outcome.NOT_SAVED, _NOT.format(f"the firmware would keep it, but {nobody}"))


def weighed(machine: Machine, verdict: Verdict, findings: Sequence[Finding]) -> list[Finding]:
    """The findings as they weigh with this verdict: none is critical where a crash would be saved.

    If kdump saves it, what stands in FADump's way matters to those who have asked for FADump only.
    """
    if verdict.outcome is Outcome.NOT_SAVED:
        return list(findings)
    most = Severity.WARNING if verdict.outcome is Outcome.SAVED or machine.is_asked_for else Severity.NOTE
    return [
        replace(finding, severity=most) if finding.severity is Severity.CRITICAL else finding for finding in findings
    ]


def severity_of(verdict: Verdict, findings: Sequence[Finding]) -> Severity:
    """The worst; that a crash would not be saved is critical."""
    if verdict.outcome is Outcome.NOT_SAVED:
        return Severity.CRITICAL
    return max((finding.severity for finding in findings), default=Severity.GOOD)


def _why_not(findings: Sequence[Finding]) -> str:
    for check in (Check.FIRMWARE, Check.KERNEL, Check.COMMAND_LINE, Check.REGISTRATION):
        sentence = _critical(findings, check)
        if sentence is not None:
            return sentence
    return "the kernel has no FADump"


def _critical(findings: Sequence[Finding], check: Check) -> str | None:
    return next(
        (finding.sentence for finding in findings if finding.check is check and finding.severity is Severity.CRITICAL),
        None,
    )
