"""How long QEMU has waited for a processor of the host's: time in which its guest could do nothing.

A busy host makes a guest slow, as the guest's own clock goes on. What somebody waits for is therefore measured on a
clock without that time. The kernel counts for each thread how long it was ready to run and did not (the second number
in /proc/PID/task/TID/schedstat, Linux Documentation/scheduler/sched-stats.rst); a guest that has nothing to do does not
wait. Where there is no such file, nothing is subtracted.
"""

import time
from contextlib import suppress
from pathlib import Path

_NANOSECONDS = 1e-9
_WINDOW_SECONDS = 10.0


class HostDelay:
    """Of one process, since this began to look.

    Its threads may wait at the same time, so they are not added up: of each ten seconds the thread counts that has
    waited longest. That is never more than the time that has passed.
    """

    def __init__(self, pid: int) -> None:
        self._tasks = Path(f"/proc/{pid}/task")
        self._earlier = self._seconds = 0.0
        self._begin_window(time.monotonic(), self._read())

    def seconds(self) -> float:
        """All of it until now; a wait counts once it is over."""
        now, waited = time.monotonic(), self._read()
        longest = max((count - self._before.get(thread, count) for thread, count in waited.items()), default=0)
        self._seconds = max(self._seconds, self._earlier + min(longest * _NANOSECONDS, now - self._since))
        if now - self._since >= _WINDOW_SECONDS:
            self._earlier = self._seconds
            self._begin_window(now, waited)
        return self._seconds

    def _begin_window(self, since: float, waited: dict[str, int]) -> None:
        self._since, self._before = since, waited

    def _read(self) -> dict[str, int]:
        waited: dict[str, int] = {}
        with suppress(OSError):  # the process has ended
            for task in self._tasks.iterdir():
                with suppress(OSError, IndexError, ValueError):
                    waited[task.name] = int((task / "schedstat").read_text().split()[1])
        return waited
