"""What the pseries firmware can be told to do wrong, to see what a kernel makes of it.

Step "register" of docs/architecture.md. Specification: LoPAR, "Extended Delay Option"; its reader: Linux
arch/powerpc/kernel/rtas.c, rtas_busy_delay_time(), after which the caller calls again.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType

from fadump.abi.pseries.rtas import RtasStatus


class FirmwareFault(StrEnum):
    """Statuses that the first calls get instead of an answer."""

    BUSY = "busy-firmware"
    EXTENDED_DELAY = "extended-delay"


FIRMWARE_FAULT_TEXTS = {
    FirmwareFault.BUSY: "the firmware's first three calls are answered with busy (-2)",
    FirmwareFault.EXTENDED_DELAY: "the firmware's first three calls are answered with try again in 1, 10 and 100 ms",
}

FORCED_STATUSES: Mapping[FirmwareFault, Sequence[int]] = MappingProxyType(
    {
        FirmwareFault.BUSY: (RtasStatus.BUSY,) * 3,
        FirmwareFault.EXTENDED_DELAY: tuple(RtasStatus.EXTENDED_DELAY_MIN + exponent for exponent in range(3)),
    }
)
