"""The interface between the model kernel and its caller while it runs.

A kernel runs as a generator: it yields a :class:`Call` and is sent the firmware's status. Nothing else happens to the
machine between two calls, so the power may be cut at any yield. In reality a call is a jump to RTAS or OPAL, see
:mod:`fadump.abi.pseries.rtas` and :mod:`fadump.abi.powernv.opal`.
"""

from collections.abc import Generator
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeVar

from fadump.errors import FadumpError

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Call:
    """A firmware call. ``cpu`` is the platform's CPU number; ``answer_address`` is 0 if a register has the answer."""

    cpu: int
    token: int
    args: tuple[int, ...]
    returns: int = 1
    answer_address: int = 0


Steps = Generator[Call, int, _T]
"""Some steps of a kernel: a generator that yields calls, is sent statuses and returns a result."""


class Errno(IntEnum):
    """What Linux's functions return: 0, or a negative number."""

    OK = 0
    EPERM = -1
    ENOENT = -2
    EIO = -5
    EACCES = -13
    EEXIST = -17
    ENODEV = -19
    EINVAL = -22
    ENOSPC = -28
    ETIMEDOUT = -110


class KernelPanicError(FadumpError):
    """The model kernel can't continue; the sentence is what it prints."""


def no_memory_at(address: int, access: str = "read") -> KernelPanicError:
    """The panic of a kernel that accesses a linear-map address without memory."""
    return KernelPanicError(f"BUG: Unable to handle kernel data access on {access} at 0xc{address:015x}")
