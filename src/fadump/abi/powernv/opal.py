"""OPAL calls that MPIPL needs: tokens, statuses, reboot types, and pointers to memory.

Specification: skiboot, include/opal-api.h and doc/opal-api/opal-mpipl-173-174.rst. Its caller: Linux,
arch/powerpc/include/asm/opal-api.h. A call's token is in r0, its arguments are in r3 and up, 64 bits each, and its
status comes back in r3, signed.
"""

from enum import IntEnum


class OpalToken(IntEnum):
    """The function of a call."""

    CEC_REBOOT2 = 116
    """Reboot: type, and a pointer to a text or 0."""
    MPIPL_UPDATE = 173
    """Change what is preserved: operation, source, destination, size in bytes."""
    MPIPL_REGISTER_TAG = 174
    """Set a number for the kernel after the crash: tag, value."""
    MPIPL_QUERY_TAG = 175
    """Get a tag's value: tag, pointer to a u64 that the value is written to, big-endian."""


class OpalStatus(IntEnum):
    """The statuses that FADump's calls may return."""

    SUCCESS = 0
    PARAMETER = -1
    BUSY = -2
    PARTIAL = -3
    CONSTRAINED = -4
    CLOSED = -5
    HARDWARE = -6
    UNSUPPORTED = -7
    PERMISSION = -8
    NO_MEM = -9
    RESOURCE = -10
    INTERNAL_ERROR = -11
    BUSY_EVENT = -12
    WRONG_STATE = -14


class RebootType(IntEnum):
    """First argument of CEC_REBOOT2."""

    NORMAL = 0
    PLATFORM_ERROR = 1
    FULL_IPL = 2
    MPIPL = 3
    FAST = 4


_PREFIX_SHIFT = 60
_PREFIXES = (0x0, 0xC)


def real_address(pointer: int) -> int | None:
    """The guest-physical address of a pointer; None if it isn't valid.

    Kernels may pass an address of their linear mapping, which begins at 0xc000000000000000: skiboot then uses
    the lower 60 bits only (include/opal-internal.h, opal_addr_valid()).
    """
    if pointer >> _PREFIX_SHIFT not in _PREFIXES:
        return None
    return pointer & ((1 << _PREFIX_SHIFT) - 1)
