"""A disk that fails, and forgets what was never made durable: a Files under a writer, over a real directory.

What a process sees is in the directory. What a power cut leaves is decided by :meth:`Disk.lose_power`: of each file
what it had at its last fsync, and of what was written since any sectors; of what happened to names in the directory
since its last fsync, only the first so many changes, as a journal keeps them in order.
"""

import errno
import os
import stat
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

SECTOR_BYTES = 512


class Fault(StrEnum):
    """What goes wrong at one operation."""

    NO_SPACE = "no space, from now on"
    NO_SPACE_ONCE = "no space, once"
    IO_ERROR = "I/O error, from now on"
    IO_ERROR_ONCE = "I/O error, once"
    INTERRUPTED = "interrupted by a signal"
    SHORT = "less written than asked"
    KILLED = "killed before it"
    KILLED_WITHIN = "killed in the middle of it"


HARMLESS = frozenset({Fault.INTERRUPTED, Fault.SHORT})
DEADLY = frozenset({Fault.KILLED, Fault.KILLED_WITHIN})
_NEEDS_ROOM = frozenset({"open", "write", "pwrite", "allocate", "fsync", "rename", "fsync_directory"})
_WRITES = frozenset({"write", "pwrite"})
_CAN_BE_INTERRUPTED = frozenset({"write", "pwrite", "fsync"})
"""Python itself begins the others again (PEP 475)."""


class KilledError(BaseException):
    """The process is gone: nothing that it would still do happens."""


@dataclass
class Inode:
    """A file whatever its name; ``since`` are the changes since its last fsync."""

    durable: bytes = b""
    since: list = field(default_factory=list)


class Disk:
    """Implements ``fadump.capture.files.Files``; every operation has a number, from 0 on.

    ``faults`` are (fault, number of the operation from which on it strikes, once), one after the other.
    """

    def __init__(self, directory, *faults):
        self.directory = directory
        self.operations = []
        self.struck = 0
        self._faults = list(faults)
        self._dead = False
        self._stuck = None
        self._open = {}
        self._durable_names = {}
        self._names = {}
        self._renames = []

    def open(self, path, flags, mode):
        self._operation("open", path.name)
        new = not path.exists()
        fd = os.open(path, flags | os.O_CLOEXEC, mode)
        if new:
            self._change_name(path.name, Inode())
        self._open[fd] = self._names.setdefault(path.name, Inode())
        return fd

    def write(self, fd, data):
        return self.pwrite(fd, data, os.lseek(fd, 0, os.SEEK_CUR), "write")

    def pwrite(self, fd, data, offset, name="pwrite"):
        data = bytes(data)
        within = self._operation(name, f"{len(data):#x} at {offset:#x}", data)
        data = data if within is None else within
        written = os.pwrite(fd, data, offset)
        assert written == len(data)
        os.lseek(fd, offset + written, os.SEEK_SET)
        self._open[fd].since.append((offset, data))
        self._die_if_dead()
        return written

    def allocate(self, fd, offset, length):
        self._operation("allocate", f"{length:#x} at {offset:#x}")
        os.posix_fallocate(fd, offset, length)
        self._open[fd].since.append((offset + length, b""))

    def write_out(self, fd, offset, length):
        """A hint: nothing."""

    def reread(self, fd):
        self._operation("reread", "")
        content = self._content(self._open[fd])
        os.ftruncate(fd, 0)
        assert os.pwrite(fd, content, 0) == len(content)

    def truncate(self, fd, length):
        self._operation("truncate", f"{length:#x}")
        self._stuck = None
        os.ftruncate(fd, length)
        self._open[fd].since.append((length, None))

    def fsync(self, fd):
        inode = self._open[fd]
        try:
            self._operation("fsync", "")
        except InterruptedError:
            raise
        except OSError:  # Linux forgets what it couldn't write but for the size, and says next time that all is well
            inode.since = [(at, data) if data is None else (at + len(data), b"") for at, data in inode.since]
            raise
        inode.durable, inode.since = self._content(inode), []

    def close(self, fd):
        self._open.pop(fd)
        os.close(fd)
        self._operation("close", "")

    def rename(self, source, destination):
        self._operation("rename", f"{source.name} to {destination.name}")
        source.rename(destination)
        inode = self._names[source.name]
        self._renames.append({source.name: None, destination.name: inode})
        self._names = {**self._names, destination.name: inode}
        del self._names[source.name]

    def unlink(self, path):
        self._operation("unlink", path.name)
        self._stuck = None
        path.unlink()
        self._change_name(path.name, None)

    def fsync_directory(self, path):
        assert path == self.directory
        self._operation("fsync_directory", "")
        self._durable_names, self._renames = dict(self._names), []

    def revive(self):
        """The next process starts; nothing fails any more."""
        for fd in list(self._open):
            os.close(fd)
        self._open, self._dead, self._stuck = {}, False, None
        self.plan()

    def plan(self, *faults):
        """Let operations fail, counted from now."""
        self._faults, self.struck, self.operations = list(faults), 0, []

    def lose_power(self, choose):
        """Leave in the directory what the disk has; ``choose(n)`` is a number below n that decides what it forgets."""
        self.revive()
        names = dict(self._durable_names)
        for change in self._renames[: choose(len(self._renames) + 1)]:
            names.update(change)
        kept = {name: inode for name, inode in names.items() if inode is not None}
        contents = {id(inode): self._surviving(inode, choose) for inode in kept.values()}
        for path in self.directory.iterdir():
            path.unlink()
        self._names, self._durable_names, self._renames = kept, dict(kept), []
        for name, inode in kept.items():
            inode.durable, inode.since = contents[id(inode)], []
            fd = os.open(self.directory / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(fd, "wb") as file:
                file.write(inode.durable)

    def check_modes(self):
        """Nobody else may read any file, whatever its name."""
        for path in self.directory.iterdir():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path

    def _operation(self, name, what, data=None):
        """Count it, and let it fail if it is to; what is to be written of ``data``, None for all."""
        if self._dead:
            raise KilledError
        number = len(self.operations)
        self.operations.append(f"{name} {what}")
        if self._stuck is not None and name in _NEEDS_ROOM:
            raise OSError(self._stuck, os.strerror(self._stuck))
        if not self._faults or number < self._faults[0][1]:
            return None
        return self._strike(self._faults[0][0], name, data)

    def _strike(self, fault, name, data):
        if not _can_strike(fault, name):
            return None
        self.struck += 1
        del self._faults[0]
        if fault in DEADLY:
            self._dead = True
            if fault is Fault.KILLED_WITHIN and name in _WRITES:
                return data[: len(data) // 2]
            raise KilledError
        if fault is Fault.SHORT:
            return data[: max(1, len(data) // 2)]
        if fault is Fault.INTERRUPTED:
            raise InterruptedError(errno.EINTR, os.strerror(errno.EINTR))
        code = errno.ENOSPC if fault in (Fault.NO_SPACE, Fault.NO_SPACE_ONCE) else errno.EIO
        if fault in (Fault.NO_SPACE, Fault.IO_ERROR):
            self._stuck = code
        raise OSError(code, os.strerror(code))

    def _die_if_dead(self):
        if self._dead:
            raise KilledError

    def _change_name(self, name, inode):
        self._renames.append({name: inode})
        self._names = {**self._names, name: inode}
        if inode is None:
            del self._names[name]

    @staticmethod
    def _content(inode):
        content = bytearray(inode.durable)
        for offset, data in inode.since:
            _apply(content, offset, data)
        return bytes(content)

    @staticmethod
    def _surviving(inode, choose):
        """What it had at its last fsync, and any of what was written since; a torn write is kept by whole sectors."""
        content = bytearray(inode.durable)
        for offset, data in inode.since:
            fate = choose(4)
            if fate == 0:  # forgotten
                continue
            if fate == 1 and data:  # the file is longer, but what was written is not there: zeros, or what was there
                _apply(content, offset + len(data), b"")
            elif fate == 2 and data:  # some sectors are
                for start in range(offset - offset % SECTOR_BYTES, offset + len(data), SECTOR_BYTES):
                    if choose(2):
                        first, last = max(start, offset), min(start + SECTOR_BYTES, offset + len(data))
                        _apply(content, first, data[first - offset : last - offset])
            else:
                _apply(content, offset, data)
        return bytes(content)


def chooser(*seed):
    """What :meth:`Disk.lose_power` is to be given; the same seed chooses the same."""
    generator = np.random.default_rng(seed)
    return lambda most: int(generator.integers(most))


def _can_strike(fault, name):
    names = {Fault.SHORT: _WRITES, Fault.INTERRUPTED: _CAN_BE_INTERRUPTED}
    names |= dict.fromkeys((Fault.NO_SPACE, Fault.NO_SPACE_ONCE), _NEEDS_ROOM)
    return name in names.get(fault, (name,))


def _apply(content, offset, data):
    """A write; of nothing, a file made at least so long; of None, a file cut or made just so long."""
    if data is None:
        del content[offset:]
    content.extend(bytes(max(0, offset + len(data or b"") - len(content))))
    if data:
        content[offset : offset + len(data)] = data
