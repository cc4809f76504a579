"""The verifier's own copy of a machine at the crash.

Between the steps "crash" and "preserve" of docs/architecture.md: it is taken while the machine is stopped and
before the firmware has changed anything, so that the saved dump can be compared with the original memory
(:mod:`fadump.proof.compare`). It shares no code with the firmware's copying, which uses
:meth:`fadump.memory.guest.GuestMemory.copy`, so that one bug can't affect both. Here the host's kernel copies from
file to file (sendfile(2)), extent by extent (SEEK_DATA and SEEK_HOLE, lseek(2)).
"""

import errno
import fcntl
import os
from collections.abc import Iterator, Sequence
from itertools import pairwise
from types import MappingProxyType, TracebackType
from typing import Self

from fadump.abi.registers import CpuRegisters
from fadump.errors import AddressError, SetupError
from fadump.memory.guest import Segment
from fadump.memory.holes import data_ranges
from fadump.memory.ranges import Range, RangeSet

_ALL_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
_MOST_ATTEMPTS = 100
_CHUNK_BYTES = 0x10000
_ZEROS = bytes(_CHUNK_BYTES)


class CrashImage:
    """RAM and CPUs of one machine at one moment; immutable. Also a context manager.

    It is in an anonymous file, sealed against writing, in which each byte is at its guest physical address. Memory that
    the guest never touched takes no space, and no file is left behind.
    """

    def __init__(self, fd: int, ram: RangeSet, cpus: Sequence[CpuRegisters]) -> None:
        """``fd`` has guest memory at its own addresses, and this object owns it from now on; see :meth:`take`."""
        self._fd = fd
        self._ram = ram
        self._cpus = tuple(CpuRegisters(cpu.cpu_id, MappingProxyType(dict(cpu.values))) for cpu in cpus)

    @classmethod
    def take(cls, segments: Sequence[Segment], cpus: Sequence[CpuRegisters]) -> Self:
        """Copy the memory in ``segments`` and the registers in ``cpus``; the guest must be stopped meanwhile.

        The order of ``cpus`` is that of the register save area.

        :raises ValueError: segments overlap, or a file is shorter than its segment.
        :raises SetupError: the host has no room for the copy.
        """
        _check_segments(segments)
        fd = os.memfd_create("fadump-crash-image", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(fd, max((segment.range.end for segment in segments), default=0))
            for segment in segments:
                _copy(segment, fd)
            _seal(fd)
        except BaseException:
            os.close(fd)
            raise
        return cls(fd, RangeSet(segment.range for segment in segments), cpus)

    @property
    def ram(self) -> RangeSet:
        """Where there was memory."""
        return self._ram

    @property
    def cpus(self) -> Sequence[CpuRegisters]:
        """The CPUs that were online, in the order of the register save area."""
        return self._cpus

    @property
    def stored_bytes(self) -> int:
        """How much host memory the copy takes."""
        return os.fstat(self._fd).st_blocks * 512

    def read(self, address: int, length: int) -> bytes:
        """Read ``length`` bytes from guest physical ``address``.

        :raises AddressError: not all of it was RAM.
        """
        self._check(address, length)
        data = bytearray(length)
        self.read_into(address, memoryview(data))
        return bytes(data)

    def read_into(self, address: int, buffer: memoryview) -> None:
        """Fill ``buffer`` with the memory from guest physical ``address``.

        :raises AddressError: not all of it was RAM.
        """
        self._check(address, len(buffer))
        done = 0
        while done < len(buffer):  # one call reads at most 2 GiB
            done += os.preadv(self._fd, [buffer[done:]], address + done)

    def data_ranges(self, wanted: Range) -> Iterator[Range]:
        """The addresses in ``wanted`` that may have anything but zeros."""
        return data_ranges(self._fd, wanted)

    def close(self) -> None:
        """Give the host's memory back; nothing can be read any more. May be called twice."""
        fd, self._fd = self._fd, -1
        self._ram = RangeSet()
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _check(self, address: int, length: int) -> None:
        if address < 0 or length < 0 or not self._ram.contains(Range.sized(address, length)):
            raise AddressError(address, length)


def _seal(fd: int) -> None:
    """Let nothing change a file any more. Linux waits a moment for whoever still holds its pages, which on a busy host
    may be Linux itself, and then gives up (mm/memfd.c, memfd_wait_for_pins())."""
    for attempts_left in reversed(range(_MOST_ATTEMPTS)):
        try:
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _ALL_SEALS)
        except OSError as error:
            if error.errno != errno.EBUSY or not attempts_left:
                raise
        else:
            return


def _check_segments(segments: Sequence[Segment]) -> None:
    for segment in segments:
        needed, there = segment.offset + segment.range.size_bytes, os.fstat(segment.fd).st_size
        if segment.offset < 0 or needed > there:
            raise ValueError(f"segment {segment.range} needs {needed:#x} bytes of its file, which has {there:#x}")
    for lower, upper in pairwise(sorted(segment.range for segment in segments)):
        if lower.overlaps(upper):
            raise ValueError(f"segments {lower} and {upper} overlap")


def _copy(segment: Segment, image_fd: int) -> None:
    for extent in data_ranges(segment.fd, Range.sized(segment.offset, segment.range.size_bytes)):
        address = segment.range.start + extent.start - segment.offset
        try:
            _send(segment.fd, extent, image_fd, address)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.ENOMEM):
                raise
            raise SetupError(
                f"the host has no room for a copy of guest memory {segment.range}: free memory, give the guest "
                "less, or run without --verify"
            ) from error


def _send(source_fd: int, source: Range, image_fd: int, address: int) -> None:
    """Copy a part of guest memory's file; chunks of zeros become holes."""
    for at in range(source.start, source.end, _CHUNK_BYTES):
        size_bytes = min(_CHUNK_BYTES, source.end - at)
        data = os.pread(source_fd, size_bytes, at)
        if len(data) != size_bytes:
            raise OSError(errno.EIO, f"guest memory's file ended at {at + len(data):#x} while it was copied")
        if data != _ZEROS[:size_bytes]:
            os.pwrite(image_fd, data, address + at - source.start)
