"""What doctor has answered, as its tests ask for it."""

from fadump.service.doctor.findings import Severity

SAVED = "A crash now would be saved to /var/crash by kdump-tools."
NOT_SAVED = "A crash now would NOT be saved: "


def found(examination, check, least=Severity.NOTE):
    """The sentences of one check, and what mends them."""
    return [
        (finding.severity, finding.sentence, finding.mend)
        for finding in examination.findings
        if finding.check is check and finding.severity >= least
    ]


def outcome(examination):
    return examination.verdict.outcome, examination.severity
