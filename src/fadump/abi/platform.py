"""The two platforms: whose firmware takes the dump."""

from enum import StrEnum


class Platform(StrEnum):
    """Whose machine it is."""

    PSERIES = "pseries"
    """A guest of a hypervisor, PowerVM or QEMU in its place: RTAS."""
    POWERNV = "powernv"
    """A machine without a hypervisor: OPAL."""
