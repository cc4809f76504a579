"""What not every file system has: locks, and directories that can be made durable.

NFS without its lock daemon has no locks (ENOLCK), nor has Lustre without ``-o flock`` (ENOSYS), FUSE where its program
has none, or NFS for a directory, which can't be opened for writing (EBADF). Where nobody can have a lock, nobody else's
is in the way. Names in a directory that can't be synchronized are as durable as that file system makes them.
"""

import errno
import fcntl
import os
from pathlib import Path

_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF})
_NO_FSYNC = frozenset({errno.EINVAL, errno.EBADF, errno.ENOSYS, errno.EOPNOTSUPP})


def lock_at_once(fd: int, operation: int = fcntl.LOCK_EX) -> bool:
    """Take a lock, see flock(2), which ends with the process; False: another one has it.

    :raises OSError: the file system has failed.
    """
    try:
        _flock(fd, operation | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def wait_for_lock(fd: int) -> None:
    """Take a lock as soon as no other process has it.

    :raises OSError: the file system has failed.
    """
    _flock(fd, fcntl.LOCK_EX)


def fsync_directory(path: Path) -> None:
    """Make durable what happened to names in a directory, where its file system can.

    :raises OSError: it has failed.
    """
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in _NO_FSYNC:
            raise
    finally:
        os.close(fd)


def _flock(fd: int, operation: int) -> None:
    try:
        fcntl.flock(fd, operation)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
