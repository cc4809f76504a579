"""The two platforms with FADump."""

from enum import StrEnum


class Platform(StrEnum):
    """A platform, by the firmware that takes the dump."""

    PSERIES = "pseries"
    """A guest of a hypervisor, PowerVM or QEMU: RTAS."""
    POWERNV = "powernv"
    """A machine without a hypervisor: OPAL."""
