"""How long QEMU has waited for a processor of the host's: time in which its guest could do nothing.

A busy host makes a guest slow, as the guest's own clock goes on. What somebody waits for is therefore measured on a
clock without that time. The kernel counts for each thread how long it was ready to run and did not (the second number
in /proc/PID/task/TID/schedstat, Linux Documentation/scheduler/sched-stats.rst); a guest that has nothing to do does not
wait. Where there is no such file, nothing is subtracted.
"""

from contextlib import suppress
from pathlib import Path

_NANOSECONDS = 1e-9


class HostDelay:
    """Of one process, since the first look at it. Between two looks the thread counts that waited longest."""

    def __init__(self, pid: int) -> None:
        self._tasks = Path(f"/proc/{pid}/task")
        self._waited: dict[str, int] = {}
        self._seconds = 0.0
        self.seconds()

    def seconds(self) -> float:
        """All of it until now; a wait counts once it is over."""
        before, self._waited = self._waited, self._read()
        if before:
            longest = max((now - before.get(thread, now) for thread, now in self._waited.items()), default=0)
            self._seconds += max(0, longest) * _NANOSECONDS
        return self._seconds

    def _read(self) -> dict[str, int]:
        waited: dict[str, int] = {}
        with suppress(OSError):  # the process has ended
            for task in self._tasks.iterdir():
                with suppress(OSError, IndexError, ValueError):
                    waited[task.name] = int((task / "schedstat").read_text().split()[1])
        return waited
