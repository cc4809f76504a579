"""A system that has fallen back to kdump: Linux has reserved its memory for that, and nothing is registered.

Such a crash is kdump's alone. The kernel starts the one that lies in its reserved memory by kexec, without a reset, and
the firmware sees nothing of it; user space saves the dump, and reboots. What is seen from outside is the console, and
the reset at the end; the verdict is by the dump on the disk, as of any other crash.
"""

from dataclasses import dataclass

from fadump.observer import CrashBy, Milestone, Seen
from fadump.systems.rehearsal import LostError, Rehearsal


@dataclass(frozen=True, slots=True)
class Fallback:
    """What has become of a crash under kdump.

    ``reserved_bytes`` is what the kernel has said that it reserves, ``reason`` why it has not enabled FADump, None if
    it doesn't say. ``started`` says whether a crash kernel was seen to start, which a quiet one isn't; ``error`` is
    what went wrong.
    """

    reserved_bytes: int
    reason: str | None
    started: bool = False
    error: str | None = None

    def sentence(self, saved: str | None) -> str:
        """All of it; ``saved`` says which dump is on the system's disk, None: there is none."""
        reason = "" if self.reason is None else f" ({self.reason})"
        told = (
            f"the system is in production and has not registered: Linux has reserved {self.reserved_bytes >> 20} MiB "
            f"for kdump instead{reason}; "
        )
        if saved is not None:
            told += f"kdump is armed: a crash was made, and {saved}"
        elif self.started:
            told += "kdump is armed: a crash was made, which has started its kernel and left no new dump"
        else:
            told += "a crash was made, and no other kernel was seen to start: kdump is not armed, or silent"
        return told if self.error is None else f"{told}; {self.error}"


class FallbackRehearsal(Rehearsal):
    """A rehearsal that goes on where Linux has fallen back to kdump."""

    _kernels_after_crash = 0

    def follow_kdump(self, crash_by: CrashBy) -> Fallback | None:
        """Crash a system that is in production without FADump, up to power-off; None: nothing is reserved for kdump.

        :raises MachineError: the machine stopped.
        """
        reserved_bytes, reason = self._console.kdump_bytes, self._console.not_enabled
        if reserved_bytes is None:
            return None
        boots = self._console.boots
        error: str | None = None
        try:
            self._crash_under_kdump(crash_by)
            self._power_off()
        except LostError as lost:
            error = str(lost)
        return Fallback(reserved_bytes, reason, self._kernels_after_crash > boots, error)

    def _crash_under_kdump(self, crash_by: CrashBy) -> None:
        resets = self._session.record.counts[Seen.RESET]
        self._make_crash(crash_by)
        self._until(
            lambda: self._is_reset_after(resets),
            self._patience.saving,
            Milestone.PRESERVED,  # on the way to which a panic is what it should be
            "the system has crashed, and has not rebooted",
            "see what its dump service waits for",
        )
        self._until(
            lambda: self._is_settled,
            self._patience.production,
            Milestone.PRODUCTION,
            "the system has rebooted after its crash, and has not come back into production",
            "see what it waits for",
        )

    def _is_reset_after(self, resets: int) -> bool:
        """Whether the machine has been reset since its crash, as a dump service does at the end."""
        self._kernels_after_crash = self._console.boots
        if self._console.hangs:
            raise self._lost(LostError, Milestone.PRESERVED, "the kernel has panicked, and has started no other")
        return self._session.record.counts[Seen.RESET] > resets
