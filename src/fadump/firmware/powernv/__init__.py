"""The powernv firmware: OPAL's MPIPL calls, as skiboot has them."""

from fadump.firmware.powernv.calls import PowernvFirmware

__all__ = ["PowernvFirmware"]
