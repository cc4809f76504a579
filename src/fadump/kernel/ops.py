"""What differs between RTAS and OPAL: Linux's ``struct fadump_ops``.

The steps (:mod:`.register`, :mod:`.crash`, :mod:`.capture_boot`, :mod:`.release`) are the same on both platforms and
call these. Linux arch/powerpc/include/asm/fadump-internal.h; :mod:`.rtas_fadump` and :mod:`.opal_fadump` implement
them.
"""

from typing import Protocol

from fadump.kernel.calls import Errno, Steps
from fadump.kernel.crash_info import Header
from fadump.kernel.vmcore import Registers
from fadump.memory.devicetree import DeviceTree


class FadumpOps(Protocol):
    """One platform's part of a kernel's FADump."""

    def scan(self, tree: DeviceTree) -> Steps[None]:
        """Look for an active dump; if there is one, use its configuration."""

    def setup_metadata(self) -> Steps[Errno]:
        """Tell the firmware where the kernel's metadata will be."""

    def init_mem_struct(self) -> None:
        """Prepare the structure to register."""

    def register(self) -> Steps[Errno]:
        """Ask the firmware to take a dump at a crash."""

    def unregister(self) -> Steps[Errno]:
        """Withdraw the registration."""

    def invalidate(self) -> Steps[Errno]:
        """Tell the firmware that its dump is no longer needed."""

    def cleanup(self) -> Steps[None]:
        """Withdraw what else the kernel has registered with the platform."""

    def process(self, header: Header) -> list[Registers] | None:
        """The registers of a dump's CPUs for their notes; None if the dump is not valid."""

    def trigger(self, cpu: int, message: str) -> Steps[None]:
        """Report a crash. If the firmware takes the dump, this never returns."""

    def region_show(self) -> str:
        """The debugfs file fadump_region."""
