"""Which crash a dump is of, so that a dump that is saved already is recognised, whatever its name.

Step "saved" of docs/architecture.md. Two crashes differ in what the CPUs were doing and in VMCOREINFO, which has the
time (CRASHTIME); ``fadump save`` copies both into every format. They are in the first MiB of a dump of any size.
"""

import hashlib
import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from fadump.abi.linux.pt_regs import TRAPS, led_to_dump
from fadump.linux.system import UNREADABLE_KERNEL, CrashedSystem
from fadump.vmcore.contract import Dump
from fadump.vmcore.notes import decode_prstatus

LATEST_SECONDS = 253_402_300_799
"""The last second of the year 9999."""
NAME_FORMAT = "%Y%m%dT%H%M%SZ"
"""Of a dump's directory."""
NAME = re.compile(r"\d{8}T\d{6}Z(-\d+)?")
"""What one is called; with a number behind it if there is one of that name."""


@dataclass(frozen=True, slots=True)
class Crash:
    """``identity`` is the same for every dump of one crash. ``time`` counts seconds since 1970, UTC, ``release`` is
    the kernel's, as uname -r, and ``cause`` a line of its log, or the interrupt that led to the dump; None where the
    dump doesn't say."""

    identity: str
    time: int | None = None
    release: str | None = None
    cause: str | None = None

    def name(self, now: float) -> str:
        """What a directory for its dump is called: when it crashed, or else that it is saved now. UTC."""
        return datetime.fromtimestamp(now if self.time is None else self.time, UTC).strftime(NAME_FORMAT)


def read_crash(system: CrashedSystem) -> Crash:
    """Which crash an open dump is of.

    :raises OSError: it can't be read.
    """
    time = release = cause = None
    with suppress(*UNREADABLE_KERNEL):
        time = system.crash_time
    if time is not None and not 0 <= time <= LATEST_SECONDS:
        time = None
    with suppress(*UNREADABLE_KERNEL):
        release = system.vmcoreinfo.text("OSRELEASE")
    with suppress(*UNREADABLE_KERNEL):
        cause = system.ending.cause or system.ending.panic or _interrupt(system.dump)
    return Crash(identity(system.dump), time, release, cause)


def identity(dump: Dump) -> str:
    """A dump's VMCOREINFO and the registers of all CPUs, as a checksum."""
    told = hashlib.sha256(dump.vmcoreinfo or b"")
    for registers in sorted(note.desc for note in dump.notes if note.is_prstatus()):
        told.update(registers)
    return told.hexdigest()[:32]


def _interrupt(dump: Dump) -> str | None:
    """What a kernel without a last word was ended by, as by a system reset: the firmware has no trap of other CPUs.

    :raises FormatError: a note is cut short.
    """
    traps = {decode_prstatus(note, dump.byte_order).registers["trap"] for note in dump.notes if note.is_prstatus()}
    return next((led_to_dump(trap) for trap in sorted(traps & TRAPS.keys())), None)
