"""One run of a campaign, in a process of its own: whatever comes of it, the campaign goes on.

The process ends with ours, and with it its guest. Where a run isn't good, the end of each of its texts is kept.
"""

import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from fadump.campaign.job import Job
from fadump.campaign.outcome import Cost, Outcome, Run, first_line, outcome_of, read_answer
from fadump.errors import FadumpError, SetupError, reason
from fadump.kit.cache import cache_directory, private_directory, scratch_directory

MOST_KEPT_BYTES = 1 << 18
"""Of each text of a run: its end."""
_MOST_ANSWER_BYTES = 1 << 24
_GRACE_SECONDS = 20.0
"""How long a command that is ended may take to put its guest away."""
_LOOK_SECONDS = 0.25
_KIB = 1024
_DIES_WITH_US = ("setpriv", "--pdeathsig", "TERM", "--")
_OUT = "out"
_KEPT = ("*console.log", "firmware.log")


def execute(job: Job, is_unwanted: Callable[[], bool] = lambda: False) -> Run:
    """Run a job's command, and say what has come of it. Once it ``is_unwanted``, it is ended.

    It never raises an error of ours or of the system: that is what has come of the run.
    """
    began, host = datetime.now(UTC).isoformat(timespec="seconds"), socket.gethostname()
    try:
        words = job.local_words()
        with scratch_directory(private_directory(cache_directory() / "campaign"), ".run-") as scratch:
            end = _run(words, scratch, job.timeout_seconds, is_unwanted)
            return _judged(end, scratch, began, host)
    except (FadumpError, OSError) as error:
        return Run(Outcome.NOT_TRIED, None, reason(error), None, Cost(), host, began)


@dataclass(frozen=True, slots=True)
class _End:
    """How a command has ended; ``limit_seconds`` is how long it could take, None: it didn't take longer."""

    exit_code: int
    cost: Cost
    limit_seconds: float | None


def _run(words: list[str], scratch: Path, timeout_seconds: float, is_unwanted: Callable[[], bool]) -> _End:
    command, *options = words
    if shutil.which(_DIES_WITH_US[0]) is None:
        raise SetupError(f"no {_DIES_WITH_US[0]} on this machine: install util-linux")
    whole = [*_DIES_WITH_US, sys.executable, "-m", "fadump", command, "--json", *options, f"--out={scratch / _OUT}"]
    start = time.monotonic()
    with (scratch / "stdout").open("wb") as stdout, (scratch / "stderr").open("wb") as stderr:
        process = subprocess.Popen(
            whole, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, start_new_session=True, cwd=scratch
        )
    try:
        has_ended = _wait(process, timeout_seconds, is_unwanted)
        if not has_ended:
            process.terminate()
            _wait(process, _GRACE_SECONDS)
    finally:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)  # what is left of it
        _pid, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    cost = Cost(time.monotonic() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * _KIB)
    return _End(process.returncode, cost, None if has_ended else timeout_seconds)


def _wait(process: "subprocess.Popen[bytes]", seconds: float, is_unwanted: Callable[[], bool] = lambda: False) -> bool:
    """Wait for a process, but not for its status; False: it hasn't ended."""
    deadline = time.monotonic() + seconds
    fd = os.pidfd_open(process.pid)
    try:
        while time.monotonic() < deadline and not is_unwanted():
            left = deadline - time.monotonic()
            if select.select([fd], [], [], max(0, min(left, _LOOK_SECONDS)))[0]:
                return True
    finally:
        os.close(fd)
    return False


def _judged(end: _End, scratch: Path, began: str, host: str) -> Run:
    answer = read_answer(_end_of(scratch / "stdout", _MOST_ANSWER_BYTES))
    outcome = outcome_of(end.exit_code, answer) if end.limit_seconds is None else Outcome.TOO_LONG
    if outcome.is_good:
        return Run(outcome, end.exit_code, None, None, end.cost, host, began)
    error, phase = _error(end, scratch, answer or {}), _text(answer or {}, "phase")
    return Run(outcome, end.exit_code, error, phase, end.cost, host, began, dict(_kept(scratch)))


def _error(end: _End, scratch: Path, answer: Mapping[str, object]) -> str:
    if end.limit_seconds is not None:
        on_the_way = f", on the way to {answer['phase']}" if answer.get("phase") else ""
        return f"not done within {end.limit_seconds:g} seconds{on_the_way}"
    if said := first_line(_text(answer, "error") or ""):
        return said.replace(f"{scratch / _OUT}/", "")
    how = f"exit code {end.exit_code}" if end.exit_code >= 0 else f"ended by signal {-end.exit_code}"
    last = _end_of(scratch / "stderr").decode(errors="replace").strip().rpartition("\n")[2]
    return f"{how} without a reason" + (f"; its last words: {last}" if last else "")


def _kept(scratch: Path) -> Iterator[tuple[str, bytes]]:
    places = {"answer.json": scratch / "stdout", "stderr": scratch / "stderr"}
    logs = (path for pattern in _KEPT for path in (scratch / _OUT).glob(pattern))
    for name, path in (places | {log.name: log for log in logs}).items():
        if content := _end_of(path):
            yield name, content.replace(os.fsencode(f"{scratch / _OUT}/"), b"")  # which is gone when it is read


def _end_of(path: Path, most_bytes: int = MOST_KEPT_BYTES) -> bytes:
    """The last bytes of a file; none if it isn't there."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - most_bytes))
            return file.read(most_bytes)
    except OSError:
        return b""


def _text(answer: Mapping[str, object], name: str) -> str | None:
    value = answer.get(name)
    return value if isinstance(value, str) else None
