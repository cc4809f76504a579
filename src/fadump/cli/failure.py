"""What an error means for whoever started the command: its exit code, and what is said of it.

=====  ==========================================================================================================
0      done
1      it was tried, and it failed: a dump lost or different, a file that is not whole, a disk that is full
2      wrong usage, said before anything is started
125    it could not be tried: no kernel, no QEMU, no memory, no disk, a package or an input file that is missing
128+n  ended by signal n
=====  ==========================================================================================================
"""

import errno
import signal
from dataclasses import replace

from fadump.cli.output import ExitCode, Failure
from fadump.cli.parser import CommandLineError
from fadump.errors import FadumpError, SetupError, UsageError
from fadump.signals import EndedBySignal

EXIT_BROKEN_PIPE = 128 + signal.SIGPIPE
_NOT_TO_BE_HAD = frozenset((
    errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENAMETOOLONG, errno.ENODEV, errno.ENXIO,
    errno.EMFILE, errno.ENFILE, errno.ENOMEM,
))  # fmt: skip
"""Of opening a file: there is none that can be tried."""


def failure_of(error: FadumpError | OSError | EndedBySignal, first_phase: str | None = None) -> Failure:
    """What is to be said of an error that has ended a command, and its exit code.

    ``first_phase`` is the first milestone of a command that has milestones: what is wrong usage was said before it.
    """
    console, vmcore = getattr(error, "console", None), getattr(error, "vmcore", None)
    return replace(
        _failure_of(error, first_phase),
        console=None if console is None else str(console),
        vmcore=None if vmcore is None else str(vmcore),
    )


def _failure_of(error: FadumpError | OSError | EndedBySignal, first_phase: str | None) -> Failure:
    phase, firmware = getattr(error, "phase", None), getattr(error, "firmware", None)
    match error:
        case EndedBySignal():
            return Failure(str(error), error.exit_code, phase, firmware)
        case CommandLineError():
            return Failure(str(error), ExitCode.USAGE, phase, command=error.command)
        case UsageError():
            return Failure(str(error), ExitCode.USAGE, phase or first_phase, firmware)
        case FadumpError():
            return Failure(str(error), _exit_code(error), phase, firmware, result=error.result)
        case BrokenPipeError():
            return Failure("nobody reads the output any more", EXIT_BROKEN_PIPE, phase, firmware, is_told=False)
        case _:
            code = ExitCode.NOT_TRIED if error.errno in _NOT_TO_BE_HAD else ExitCode.FAILED
            return Failure(f"{error.filename or 'the system'}: {error.strerror or error}", code, phase, firmware)


def _exit_code(error: FadumpError) -> ExitCode:
    return ExitCode.NOT_TRIED if isinstance(error, SetupError) else ExitCode.FAILED
