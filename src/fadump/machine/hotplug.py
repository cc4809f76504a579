"""Memory and CPUs that come and go while a kernel runs: what can be asked of a machine, and what then of its guest."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from fadump.machine.channel import Report, Request
from fadump.memory.ranges import Range


class Act(StrEnum):
    """What is done."""

    PLUG = "plug"
    UNPLUG = "unplug"
    OFFLINE = "offline"
    """Linux stops using it; the machine still has it."""


@dataclass(frozen=True, slots=True)
class Change:
    """A DIMM, by its addresses, or a CPU, by Linux's number; with a CPU that is plugged or unplugged goes its core."""

    act: Act
    what: Range | int

    def __str__(self) -> str:
        what = f"cpu{self.what}" if isinstance(self.what, int) else f"memory {self.what}"
        return f"{self.act} {what}"


@dataclass(frozen=True, slots=True)
class GuestTask:
    """Something for the guest to do, and the report that ends it."""

    request: Request
    answer: type[Report]


class Hotplug(Protocol):
    """A machine whose memory and CPUs can change while a kernel runs."""

    def change(self, change: Change) -> Sequence[GuestTask]:
        """Do the machine's part of it; returns what the guest is to be asked then, in this order.

        :raises MachineError: it can't be done.
        """
