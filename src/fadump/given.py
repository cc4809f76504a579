"""Files that a user names by an option: whatever is wrong with one, the sentence begins with the option."""

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fadump.errors import SetupError, reason, unwritable


def check_file(option: str, path: Path) -> None:
    """Make sure that a file to be read is there, and can be.

    :raises SetupError: it isn't, or is something else.
    """
    with reading(option, path):
        kind = path.stat().st_mode
        if not stat.S_ISREG(kind):  # a pipe is not opened, which would wait for its other end
            raise SetupError(f"{option} {path} is {'a directory' if stat.S_ISDIR(kind) else 'no file'}: give a file")
        path.open("rb").close()


def check_directory(option: str, path: Path) -> None:
    """Make sure that a directory to be read is there.

    :raises SetupError: it isn't, or is something else.
    """
    with reading(option, path):
        if not stat.S_ISDIR(path.stat().st_mode):
            raise SetupError(f"{option} {path} is not a directory")


def real_path(path: Path) -> Path:
    """The file itself that a path leads to by links, as far as they go: ones in a circle are no error."""
    return Path(os.path.realpath(path))


def is_same_file(path: Path, other: Path) -> bool:
    """Whether two paths are one file, which need not be there yet."""
    return real_path(path) == real_path(other) or (path.exists() and other.exists() and path.samefile(other))


@contextmanager
def reading(option: str, path: Path) -> Iterator[None]:
    """An error of the system from within is one of reading this file.

    :raises SetupError: in its place.
    """
    try:
        yield
    except OSError as error:
        raise SetupError(f"{option} {path} can't be read: {reason(error)}") from error


@contextmanager
def writing(option: str, path: Path) -> Iterator[None]:
    """An error of the system from within is one of making this file, or of writing to it.

    :raises SetupError: in its place, or :class:`DiskError` if the disk is full or has failed.
    """
    try:
        yield
    except OSError as error:
        raise unwritable(error)(f"{option} {path} can't be written: {reason(error)}") from error


def write_whole(option: str, path: Path, data: bytes, mode: int = 0o600) -> None:
    """Write a file in the place of an earlier one, in whole or not at all; a pipe or a device is written to as it is.

    ``mode``: who may read it, less the umask; by default its owner.

    :raises SetupError: it can't be written.
    :raises DiskError: the disk is full, or has failed.
    """
    with writing(option, path):
        if path.exists() and not path.is_file():
            path.write_bytes(data)
            return
        path = real_path(path)
        unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        try:
            with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
                file.write(data)
            unfinished.replace(path)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
