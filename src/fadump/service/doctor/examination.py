"""The whole examination of a system: everything that is found, the verdict, and how bad it is."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fadump.service.doctor.configuration import read_configuration
from fadump.service.doctor.files import SystemFiles
from fadump.service.doctor.findings import Check, Finding, Severity
from fadump.service.doctor.kernel_findings import (
    firmware_findings,
    kernel_findings,
    panic_findings,
    registration_findings,
)
from fadump.service.doctor.machine import Machine, look_at
from fadump.service.doctor.memory_findings import boot_memory_findings
from fadump.service.doctor.place_findings import place_findings
from fadump.service.doctor.saver_findings import hotplug_findings, last_dump_findings, service_findings
from fadump.service.doctor.savers import Saver, savers
from fadump.service.doctor.verdict import Outcome, Verdict, judge, severity_of, weighed


@dataclass(frozen=True, slots=True)
class Examination:
    """What has come of it; ``findings`` are the worst first, of the same weight in the order of a crash's story."""

    verdict: Verdict
    severity: Severity
    findings: tuple[Finding, ...]


def examine(files: SystemFiles) -> Examination:
    """Examine a system by its files.

    :raises SetupError: it is no Power system, or its device tree can't be read.
    """
    machine, found_savers = look_at(files), savers(files)
    found = list(_findings(machine, files, found_savers))
    verdict = judge(machine, found_savers, found)
    findings = weighed(machine, verdict, found)
    ordered = tuple(sorted(findings, key=lambda finding: -finding.severity))
    return Examination(verdict, severity_of(verdict, findings), ordered)


def examine_configuration(path: Path) -> Examination:
    """Examine a configuration of the service, whatever the system.

    :raises SetupError: it can't be read, or the service's packages aren't there.
    """
    configured = read_configuration(path)
    if not configured.problems:
        places = ", or else to ".join(place.name for place in configured.places)
        sentence = f"{path} is right: a dump would be saved to {places}, at level {configured.level}."
        hooks = tuple(Finding(Check.CONFIGURATION, Severity.WARNING, text) for text in configured.hooks)
        return Examination(Verdict(Outcome.RIGHT, sentence), Severity.WARNING if hooks else Severity.GOOD, hooks)
    findings = tuple(Finding(Check.CONFIGURATION, Severity.CRITICAL, problem) for problem in configured.problems)
    return Examination(
        Verdict(Outcome.WRONG, f"{path} is wrong: nothing would be saved with it."), Severity.CRITICAL, findings
    )


def _findings(machine: Machine, files: SystemFiles, found_savers: Sequence[Saver]) -> Iterator[Finding]:
    yield from firmware_findings(machine)
    yield from kernel_findings(machine, files)
    yield from registration_findings(machine)
    yield from hotplug_findings(machine, files)
    yield from boot_memory_findings(machine, files)
    yield from panic_findings(machine, files)
    yield from service_findings(machine, found_savers)
    first = True
    for saver in found_savers:
        if saver.saves:
            yield from place_findings(machine, files, saver, is_only_one=first and len(saver.places) == 1)
            yield from last_dump_findings(files, saver)
            first = False
