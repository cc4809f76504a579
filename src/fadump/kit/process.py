"""Runs the distribution's tools: output to a log, errors as one sentence, and no process left behind."""

import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from fadump.errors import SetupError
from fadump.kit.cache import cache_directory, private_directory

_GRACE_SECONDS = 10
_SHOWN_LINES = 3
_LOOKS_LIKE_ERROR = re.compile(
    r"^E: |^Err:|\berror\b|\*\*\* |\bcannot\b|\bfailed\b|\b(?:Depends|Conflicts|Breaks): ", re.IGNORECASE
)
"""As gcc, make, tar, dpkg and apt have them, which names what doesn't fit together before its error."""
_ONLY_SAYS_THAT = re.compile(r"make(\[\d+\])?: \*\*\* (\[.*\] Error \d+|Waiting for unfinished jobs\.+)")
"""What each make says, from the innermost to ours, of a command that has said itself what is wrong."""


def log_path(name: str) -> Path:
    """Where the log ``name`` is kept: in the cache, the last one of its name."""
    return private_directory(cache_directory() / "logs") / f"{name}.log"


def run(
    command: Sequence[str],
    *,
    what: str,
    log: Path,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    on_line: Callable[[str], None] | None = None,
    pass_fds: Sequence[int] = (),
) -> None:
    """Run ``command`` to its end, its output appended to ``log`` and given to ``on_line`` line by line.

    It inherits the files ``pass_fds``.

    :raises SetupError: it can't be started or fails; the sentence begins with ``what`` ("building Linux 6.12"),
        has the lines that tell most, and names the log.
    """
    lines: list[str] = []
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    with (
        open(descriptor, "w", encoding="utf-8", buffering=1) as sink,  # noqa: PTH123  (a descriptor has no path)
        running(command, what=what, cwd=cwd, environment=environment, pass_fds=pass_fds) as process,
    ):
        assert process.stdout is not None  # noqa: S101  (a pipe, see running)
        for line in process.stdout:
            sink.write(line)
            lines.append(line.rstrip())
            if on_line is not None:
                on_line(lines[-1])
        status = process.wait()
    if status != 0:
        raise SetupError(f"{what} failed with {_ending(status)}: {telling_lines(lines)}; the log is {log}")


@contextmanager
def running(
    command: Sequence[str],
    *,
    what: str,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    pass_fds: Sequence[int] = (),
) -> Iterator[subprocess.Popen[str]]:
    """``command`` in a process group of its own, which ends with the block: by itself, or killed if the block raises.

    Its output and errors are one text stream, ``stdout``; its input is empty.

    :raises SetupError: it can't be started.
    """
    try:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=None if environment is None else dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
            pass_fds=pass_fds,
        )
    except OSError as error:
        raise SetupError(f"{what} failed: {command[0]} can't be started ({error.strerror})") from error
    with process:
        try:
            yield process
            process.wait()
        except BaseException:
            end_group(process)
            raise


def end_group(process: subprocess.Popen[str]) -> None:
    """End a process and all that it started: asked first, killed after a grace period."""
    for ending in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, ending)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_SECONDS)
            break
    with suppress(ProcessLookupError):  # what outlived its leader
        os.killpg(process.pid, signal.SIGKILL)


def telling_lines(lines: Sequence[str]) -> str:
    """The last lines of some output that look like errors, else simply the last ones, on one line.

    A line that ends in a colon is told with the one after it, which has the reason. That make has failed is told where
    there is no other error.
    """
    said = _with_reasons([line.strip() for line in lines if line.strip()])
    errors = [line for line in said if _LOOKS_LIKE_ERROR.search(line)]
    reasons = [line for line in errors if not _ONLY_SAYS_THAT.fullmatch(line)]
    return " | ".join((reasons or errors or said)[-_SHOWN_LINES:]) or "it said nothing"


def _with_reasons(lines: Sequence[str]) -> list[str]:
    joined: list[str] = []
    for line in lines:
        if joined and joined[-1].endswith(":") and _LOOKS_LIKE_ERROR.search(joined[-1]):
            joined[-1] += f" {line}"
        else:
            joined.append(line)
    return joined


def _ending(status: int) -> str:
    return f"signal {-status}" if status < 0 else f"exit status {status}"
