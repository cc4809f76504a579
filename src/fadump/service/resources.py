"""What a capture takes of a system that has little: boot memory, and processors that the boot needs, too."""

import os
import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from fadump.service.config import Priority
from fadump.service.root import Root

_LOWEST = 19
_THREAD_BYTES = 32 << 20
_SHARE = 2
"""Of the memory that is available, one part in so many may be the threads'."""
_AVAILABLE = re.compile(r"^MemAvailable:\s*(\d+) kB$", re.MULTILINE)
_FREE = re.compile(r"^MemFree:\s*(\d+) kB$", re.MULTILINE)
_SECONDS = 10


def threads(root: Root, asked: int | None) -> int:
    """How many threads may pack: so many as ``asked``, or one for each CPU as far as there is memory."""
    if asked is not None:
        return asked
    cpus = len(os.sched_getaffinity(0))
    available = available_bytes(root)
    return cpus if available is None else max(1, min(cpus, available // _SHARE // _THREAD_BYTES))


def available_bytes(root: Root) -> int | None:
    """How much memory can be had without swapping; None: the system doesn't say."""
    with suppress(OSError):
        text = root.meminfo.read_text()
        found = _AVAILABLE.search(text) or _FREE.search(text)
        return None if found is None else int(found[1]) << 10
    return None


@contextmanager
def lowered(priority: Priority) -> Iterator[None]:
    """Within the block, this thread and those that it starts let others go first, as far as the system can.

    Processors by setpriority(2), which is the thread's alone in Linux, and disks by ionice(1).
    """
    if priority is not Priority.IDLE:
        yield
        return
    before = os.getpriority(os.PRIO_PROCESS, 0)
    _set(_LOWEST, "idle")
    try:
        yield
    finally:
        _set(before, "none")


def _set(niceness: int, disks: str) -> None:
    """It is a courtesy: nothing fails for it."""
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, niceness)
    with suppress(OSError, subprocess.TimeoutExpired):
        command = ["ionice", "--class", disks, "--pid", str(threading.get_native_id())]
        subprocess.run(command, timeout=_SECONDS, check=False, capture_output=True)
