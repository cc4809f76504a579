"""What has failed in a test, as pytest shows it: what broke and where, and no stack of ours."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

from fadump.cli.failure import failure_of
from fadump.cli.output import ExitCode, Failure
from fadump.errors import FadumpError, MachineError, SetupError, UsageError
from fadump.printable import printable
from fadump.testing.machine import Machine

_LINES = 12
_TAIL_BYTES = 1 << 16
_QUOTED = "\n  | "
_P = ParamSpec("_P")
_R = TypeVar("_R")


class CrashFailedError(MachineError, AssertionError):
    """It was tried, and it failed."""

    __module__ = "fadump"


class WrongUseError(UsageError, AssertionError):
    """What the test asks for can't be."""

    __module__ = "fadump"


class NotTriedError(SetupError, AssertionError):
    """Something is missing, so nothing was tried; as exit code 125 of the commands."""

    __module__ = "fadump"
    fadump_not_tried = True
    """For the plugin, which tells it by this."""


_TYPES = {ExitCode.USAGE: WrongUseError, ExitCode.NOT_TRIED: NotTriedError}


def reported(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """The same function, whose errors are failures of a test."""

    @functools.wraps(function)
    def run(*arguments: _P.args, **options: _P.kwargs) -> _R:
        __tracebackhide__ = True
        try:
            return function(*arguments, **options)
        except (FadumpError, OSError) as error:
            failed = _failed(error)
        raise failed  # here, so that it has no context

    return run


class MachineUnderTest(Machine):
    """A machine whose errors are failures of a test."""

    __init__ = reported(Machine.__init__)
    __exit__ = reported(Machine.__exit__)
    close = reported(Machine.close)
    run = reported(Machine.run)
    crash = reported(Machine.crash)


def last_lines(console_log: Path) -> str:
    """The last lines of a console, as errors quote them; nothing if there are none."""
    try:
        with console_log.open("rb") as file:
            file.seek(max(0, console_log.stat().st_size - _TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()[-_LINES:]
    except OSError:
        return ""
    return "".join(f"{_QUOTED}{printable(line)}" for line in lines)


def _failed(error: FadumpError | OSError) -> FadumpError:
    told = failure_of(error)
    failed = _TYPES.get(ExitCode(told.exit_code), CrashFailedError)(_text(told))
    failed.phase, failed.firmware, failed.console = told.phase, told.firmware, getattr(error, "console", None)
    return failed


def _text(told: Failure) -> str:
    sentence, *quoted = printable(told.sentence).split(_QUOTED)
    if told.exit_code == ExitCode.NOT_TRIED:
        sentence = f"could not be tried: {sentence}"
    lines = [sentence]
    if told.exit_code == ExitCode.FAILED and told.phase is not None:
        lines.append(f"on the way to: {told.phase}")
    if told.firmware is not None and told.firmware not in sentence:
        lines.append(f"the firmware's reason: {told.firmware}")
    if told.console is not None:
        lines.append(f"the console, in {told.console}, ends with:{_quoted(quoted) or last_lines(Path(told.console))}")
    return "\n".join(lines)


def _quoted(lines: list[str]) -> str:
    return "".join(_QUOTED + line for line in lines)
