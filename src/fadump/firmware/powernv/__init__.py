"""The powernv firmware: OPAL's MPIPL calls, as in skiboot."""

from fadump.firmware.powernv.calls import PowernvFirmware

__all__ = ["PowernvFirmware"]
