"""A rehearsal that is as short as can be: a crash as soon as the kernel has registered, an end once the dump is saved.

The platform ends the guest, so that nothing of its user space is waited for. The dump has been dealt with when Linux
invalidates it; whether it is saved is told by the system's disk, as of every rehearsal. Once the capture kernel has
killed a process for want of memory there is nothing left to wait for: so much is too little, whatever becomes of it.
"""

from collections.abc import Mapping
from contextlib import suppress

from fadump.firmware.contract import State
from fadump.observer import CrashBy, Milestone, Seen
from fadump.systems.rehearsal import LostError, NotRegisteredError, Rehearsal, Service, Watched

_WRITTEN_SECONDS = 5.0
"""How long a service may take to reset the system after it has dealt with its dump."""

_REGISTERING_SECONDS = 2.0
"""How long a kernel may take to be through with it: on powernv it registers one range after the other."""

_RESETS_OF_A_REBOOT = 2
"""From the crash on: the dump's own, and one more."""


class RefusedBootMemoryError(NotRegisteredError):
    """Linux has reserved for kdump instead, as FADump takes more boot memory."""


_KILLED = "Killed process"


class BriefRehearsal(Rehearsal):
    """One system on its machine, crashed early and left early."""

    _crashed_at = 0.0

    def run(self, crash_by: CrashBy = CrashBy.PLATFORM) -> Watched:
        """From power-on until the dump is dealt with; the machine still runs then.

        :raises RefusedBootMemoryError: there is no FADump with so little boot memory.
        :raises LostError: as of a whole rehearsal.
        """
        self._session.reached(Milestone.POWER_ON)
        self._to_registration()
        self._serve_for(_REGISTERING_SECONDS, Milestone.REGISTERED)
        self._session.reached(Milestone.REGISTERED)
        self._crash(crash_by)
        self._crashed_at = self._clock()
        self._to_capture_boot()
        self._to_end_of_saving()
        return self.watched

    def _serve(self, phase: Milestone, lost_by: Mapping[Seen, str]) -> None:
        super()._serve(phase, lost_by)
        if self._session.firmware_state is State.ACTIVE and any(_KILLED in line for line in self.watched.out_of_memory):
            raise self._lost(LostError, phase, "the capture kernel has killed a process")

    def _to_registration(self) -> None:
        self._until(
            lambda: self._is_registered or self._console.not_enabled is not None or self._is_settled,
            self._patience.production,
            Milestone.REGISTERED,
            "the system has neither registered nor shown a login prompt",
            "see what its kernel says; if it is slow, give --patience 2",
        )
        if self._is_registered:
            return
        if self._console.not_enabled is not None:
            raise self._lost(RefusedBootMemoryError, Milestone.REGISTERED, self._console.not_enabled)
        self._to_production()

    @property
    def _is_registered(self) -> bool:
        return self._session.firmware_state is State.REGISTERED

    def _to_end_of_saving(self) -> None:
        self._to_saved(self._patience.idle)
        if self._session.firmware_state is State.ACTIVE:
            self.watched.service = Service.NOTHING
        else:
            self.watched.saving_seconds = self._clock() - self._crashed_at
            self._session.reached(Milestone.SAVED)
            self.watched.service = Service.REBOOTED if self._resets_soon() else Service.RELEASED
        self._keep_lines()

    def _resets_soon(self) -> bool:
        """What is on its way to the disk has time to come there."""
        with suppress(LostError):
            self._serve_for(_WRITTEN_SECONDS, Milestone.PRODUCTION, _RESETS_OF_A_REBOOT)
        return self._session.record.resets >= _RESETS_OF_A_REBOOT

    def _serve_for(self, seconds: float, phase: Milestone, resets: int | None = None) -> None:
        """Serve the machine for so long, or until so many resets."""
        end = self._clock() + seconds
        while self._clock() < end and self._session.record.resets != resets:
            self._machine.call_after(seconds / 2)
            self._serve(phase, {})
