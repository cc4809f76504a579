"""The pseries firmware: RTAS's ibm,configure-kernel-dump and ibm,os-term, as in LoPAR."""

from fadump.firmware.pseries.calls import PseriesFirmware
from fadump.firmware.pseries.tree import Offer
from fadump.firmware.pseries.watched import WatchedFirmware

__all__ = ["Offer", "PseriesFirmware", "WatchedFirmware"]
