"""One tree of errors. A message is one sentence: what is wrong, where, and what to do about it."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
"""What the system says of a disk that is full."""


STDOUT = "standard output"
STDERR = "standard error"
"""What an error of the system has as its file name where it is of one of these."""


class FadumpError(Exception):
    """Anything that this project reports to its user; the commands print it as one sentence.

    ``phase`` is the milestone that a machine was on the way to, as its name in a timeline, ``firmware`` the firmware's
    own reason, ``console`` the log of the machine's console and ``vmcore`` the dump that was saved before it, where
    there are such.
    """

    phase: str | None = None
    firmware: str | None = None
    console: Path | None = None
    vmcore: Path | None = None
    result: str = "failed"
    """What a JSON object says that the command has come to."""


def note_phase(error: BaseException, phase: str, firmware: str | None = None) -> None:
    """Give an error the attributes ``phase`` and ``firmware``, see :class:`FadumpError`; one that has a phase keeps it.

    An error of the system gets them too.
    """
    if getattr(error, "phase", None) is None:
        vars(error).update(phase=phase, firmware=firmware)


def note_console(error: BaseException, log: Path) -> None:
    """Give an error the attribute ``console``, see :class:`FadumpError`; an error of the system gets it too."""
    vars(error).update(console=log)


def note_vmcore(error: BaseException, vmcore: Path) -> None:
    """Give an error the attribute ``vmcore``, see :class:`FadumpError`; an error of the system gets it too."""
    vars(error).update(vmcore=vmcore)


class UsageError(FadumpError):
    """Something that was asked for and can't be, whatever the host; said before anything is started."""


class FormatError(FadumpError, ValueError):
    """Bytes that are not what their format asks for.

    ``offset`` counts bytes from the start of the input, None where what is wrong is not at one place of it;
    ``expected`` and ``found`` are what the format has and what stood there, where that can be said.
    """

    def __init__(
        self, message: str, *, offset: int | None = None, expected: object = None, found: object = None
    ) -> None:
        self.offset = offset
        self.expected = expected
        self.found = found
        detail = "" if offset is None else f" at offset {offset:#x}"
        if expected is not None:
            detail += f": expected {_shown(expected)}, found {_shown(found)}"
        super().__init__(message + detail)


class LimitError(FormatError):
    """An input that claims more than is read of one: ``what`` is counted in ``found``, which is over ``limit``."""

    def __init__(self, what: str, *, found: int, limit: int, offset: int | None = None) -> None:
        super().__init__(f"{found:,} {what}, more than the {limit:,} that are read", offset=offset)
        self.what = what
        self.found = found
        self.limit = limit


@contextmanager
def naming(*files: str | os.PathLike[str]) -> Iterator[None]:
    """A FormatError that comes from within begins with the names of the files that it is about.

    An error of the system gets them as its file name, if it has none.
    """
    try:
        yield
    except FormatError as error:
        error.args = (f"{', '.join(map(str, files))}: {error}",)
        raise
    except OSError as error:
        error.filename = error.filename or ", ".join(map(str, files))
        raise


class AddressError(FadumpError, LookupError):
    """Guest memory that isn't there: ``length`` bytes from physical ``address`` are not all RAM."""

    def __init__(self, address: int, length: int) -> None:
        self.address = address
        self.length = length
        super().__init__(f"{length:#x} bytes at {address:#x} are not all in guest memory")


class SetupError(FadumpError):
    """What was asked for could not be tried: the host lacks something, or a file isn't there; the sentence says how
    to get it."""


class DiskError(FadumpError):
    """A disk that is full, or has failed, before there was anything in a file on it."""


def unwritable(error: OSError) -> type[DiskError | SetupError]:
    """The type of error for a file that couldn't be made: that is a failure, unless there is no such place to write."""
    return DiskError if error.errno in NO_ROOM | {errno.EIO} else SetupError


class MachineError(FadumpError):
    """The machine did something other than what the cycle waited for, or nothing in time."""


class ReadError(FadumpError, OSError):
    """A file that is open and can't be read: its disk, or what stands for one, has failed.

    It is both: of a dump, one more thing that isn't there, and an error of the system. ``cause`` is the system's own.
    """

    def __init__(self, name: str, offset: int, length: int, cause: OSError) -> None:
        self.cause = cause
        super().__init__(f"{name} can't be read, {length:#x} bytes at offset {offset:#x}: {reason(cause)}")


def reason(error: Exception) -> str:
    """An error as part of a sentence: the system's own words, without number and file, where it is the system's."""
    if isinstance(error, ReadError):
        return reason(error.cause)
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


def _shown(value: object) -> str:
    return f"{value:#x}" if isinstance(value, int) else repr(value)
