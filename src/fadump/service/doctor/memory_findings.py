"""What is said of boot memory: does it suffice for a capture boot?"""

from collections.abc import Iterator

from fadump.progress import binary_size
from fadump.service.doctor.boot_loader import ask_for_fadump
from fadump.service.doctor.files import SystemFiles
from fadump.service.doctor.findings import Check, Finding, Severity
from fadump.service.doctor.machine import Machine
from fadump.service.doctor.need import boot_memory_need, recommended_words


def boot_memory_findings(machine: Machine, files: SystemFiles) -> Iterator[Finding]:
    """Boot memory against what a capture boot is estimated to need."""
    there_bytes = _boot_memory_bytes(machine)
    if there_bytes is None:
        return
    need = boot_memory_need(machine)
    parts = ", ".join(f"{binary_size(term_bytes)} for {name}" for name, term_bytes in need.named() if term_bytes)
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
