"""A plan: what a kernel would do with a machine's memory, and the reason for each number.

:func:`make_plan` does all of Linux's reservation in order: the command line (:mod:`.cmdline`), the size
(:mod:`.boot_memory`), the place (:mod:`.reserve`), kdump if FADump is refused (:mod:`.kdump`), and the capture kernel
(:mod:`.capture_kernel`). It reads no files and prints nothing.
"""

from dataclasses import dataclass

from fadump.kernel.plan.capture_kernel import CaptureReservation, capture_reservation
from fadump.kernel.plan.cmdline import parse_command_line, parse_crashkernel
from fadump.kernel.plan.kdump import KdumpReservation, kdump_reservation
from fadump.kernel.plan.memory_map import MEMORY_LIMIT
from fadump.kernel.plan.recommended import Recommendation, recommendations
from fadump.kernel.plan.reserve import Reservation, System, reserve
from fadump.kernel.traits import KernelTraits, Reason, Refusal, size_text

_CAPTURE_TREE = (
    "a dump is announced in this device tree, which is a capture kernel's: reserved-ranges may hold some of the dump, "
    "where the next first kernel has room"
)


@dataclass(frozen=True, slots=True)
class Plan:
    """Either ``reservation`` and ``capture``, or ``refusal`` and ``kdump`` are set."""

    system: System
    kernel: KernelTraits
    cmdline: str
    recommended: tuple[Recommendation, ...]
    reservation: Reservation | None = None
    capture: CaptureReservation | None = None
    refusal: Refusal | None = None
    kdump: KdumpReservation | None = None
    dump_announced: bool = False
    """Whether the system's device tree is a capture kernel's."""

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """All numbers, in the order in which Linux computes them."""
        found: tuple[Reason, ...] = ()
        if self.reservation is not None:
            found += self.reservation.reasons
        if self.capture is not None:
            found += self.capture.reasons
        if self.kdump is not None:
            found += (self.kdump.reason,)
        return found

    @property
    def crashkernel_problem(self) -> str | None:
        """Why Linux ignores the ``crashkernel=`` that is there; None if it doesn't, or there is none."""
        if "crashkernel=" not in self.cmdline:
            return None
        return parse_crashkernel(self.cmdline, self.system.memory.ram_bytes, self.kernel).problem

    @property
    def warnings(self) -> tuple[str, ...]:
        """What will not work as the user expects, besides ``crashkernel_problem``."""
        found: tuple[str, ...] = (_CAPTURE_TREE,) if self.dump_announced else ()
        if ignored_bytes := self.system.memory.ignored_bytes:
            limit = f"{MEMORY_LIMIT:#x}, {size_text(MEMORY_LIMIT)}"
            ignored = f"Linux ignores {size_text(ignored_bytes)} of memory"
            found += (f"{ignored}: it takes none from {limit}, on (prom.c, validate_mem_limit())",)
        return found + (self.reservation.warnings if self.reservation is not None else ())


def make_plan(system: System, kernel: KernelTraits, cmdline: str, *, dump_announced: bool = False) -> Plan:
    """What a first kernel does on this system with this command line."""
    recommended = recommendations(system.memory.ram_bytes)
    command_line = parse_command_line(cmdline, kernel)
    outcome = reserve(system, kernel, command_line)
    if isinstance(outcome, Refusal):
        kdump = kdump_reservation(system, kernel, command_line)
        return Plan(system, kernel, cmdline, recommended, refusal=outcome, kdump=kdump, dump_announced=dump_announced)
    capture = capture_reservation(system.platform, system.memory, outcome)
    return Plan(
        system, kernel, cmdline, recommended, reservation=outcome, capture=capture, dump_announced=dump_announced
    )
