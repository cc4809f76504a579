"""What is said of memory: does boot memory suffice for a capture boot, has a dump room where it is saved."""

import os
from collections.abc import Iterator
from dataclasses import replace

from fadump.progress import binary_size
from fadump.service.doctor.boot_loader import ask_for_fadump
from fadump.service.doctor.files import SystemFiles
from fadump.service.doctor.findings import Check, Finding, Severity
from fadump.service.doctor.machine import Machine
from fadump.service.doctor.need import UNPACKED, boot_memory_need, most_dump_bytes, recommended_words
from fadump.service.doctor.savers import Saver


def boot_memory_findings(machine: Machine, files: SystemFiles) -> Iterator[Finding]:
    """Boot memory against what a capture boot is estimated to need."""
    there_bytes = _boot_memory_bytes(machine)
    if there_bytes is None:
        return
    need = boot_memory_need(machine)
    parts = f"{binary_size(need.kernel_bytes)} for the kernel and its tables"
    if need.initrd_bytes:
        parts += f", {binary_size(need.initrd_bytes)} for the initrd and {UNPACKED} times its size unpacked"
    parts += f", {binary_size(need.user_space_bytes)} for user space"
    estimate = f"a capture boot needs about {binary_size(need.size_bytes)} (an estimate: {parts})"
    there = f"{binary_size(there_bytes)} of boot memory are reserved"
    tables = ", ".join(
        f"{table.distribution}: {binary_size(table.size_bytes)}"
        for table in machine.plan.recommended
        if table.size_bytes is not None
    )
    if there_bytes < need.size_bytes:
        yield Finding(
            Check.BOOT_MEMORY,
            Severity.WARNING,
            f"{there}, and {estimate}; distributions recommend for this much RAM: {tables}",
            ask_for_fadump(files, recommended_words(machine)),
        )
    else:
        yield Finding(Check.BOOT_MEMORY, Severity.GOOD, f"{there}, and {estimate}")


def _boot_memory_bytes(machine: Machine) -> int | None:
    """As registered, or as the plan has it: mem_reserved has other things, too."""
    if not machine.enabled:
        return None
    if machine.registered_bytes is not None:
        return machine.registered_bytes
    reservation = machine.plan.reservation
    return machine.reserved_bytes if reservation is None else reservation.boot_memory.size_bytes


def place_findings(machine: Machine, files: SystemFiles, saver: Saver) -> Iterator[Finding]:
    """Whether the places that a service saves to are there, can be written to, and have room for a dump."""
    for place in saver.places:
        if place.directory is None:
            sentence = f"{saver.service} saves to {place.name}, which is not looked at from here"
            yield Finding(Check.TARGET, Severity.NOTE, sentence)
            continue
        finding = _directory_finding(machine, files, saver, place.directory)
        if finding is not None and finding.severity is Severity.CRITICAL and len(saver.places) > 1:
            finding = replace(finding, severity=Severity.WARNING)  # another place may take the dump
        if finding is not None:
            yield finding


def _directory_finding(machine: Machine, files: SystemFiles, saver: Saver, directory: str) -> Finding | None:
    if not files.is_directory(directory):
        sentence = f"{directory}, where {saver.service} saves to, is no directory"
        return Finding(Check.TARGET, Severity.WARNING, sentence, f"mkdir -m 700 -p {directory}")
    if not files.is_running_system:
        return None
    status = os.statvfs(files.path(directory))
    if status.f_flag & os.ST_RDONLY:
        sentence = f"{directory}, where {saver.service} saves to, is on a file system that is mounted read-only"
        mend = f'mount -o remount,rw "$(findmnt -n -o TARGET --target {directory})"'
        return Finding(Check.TARGET, Severity.CRITICAL, sentence, mend)
    most_bytes = most_dump_bytes(machine, saver.level)
    if most_bytes is None:
        return None
    free_bytes = status.f_bavail * status.f_frsize
    sentence = (
        f"{directory} has {binary_size(free_bytes)} free; a dump of this moment at level {saver.level} has at most "
        f"{binary_size(most_bytes)} before it is packed"
    )
    if free_bytes >= most_bytes:
        return Finding(Check.TARGET, Severity.GOOD, sentence)
    mend = f"remove older dumps from {directory}, or name another place in {saver.config}"
    return Finding(Check.TARGET, Severity.WARNING, sentence, mend)
