"""What differs between RTAS and OPAL: Linux's ``struct fadump_ops``.

The steps (:mod:`.register`, :mod:`.crash`, :mod:`.capture_boot`, :mod:`.release`) are the same on both platforms and
call these. Linux arch/powerpc/include/asm/fadump-internal.h; :mod:`.rtas_fadump` and :mod:`.opal_fadump` have them.
"""

from typing import Protocol

from fadump.kernel.calls import Errno, Steps
from fadump.kernel.crash_info import Header
from fadump.kernel.vmcore import Registers
from fadump.memory.devicetree import DeviceTree


class FadumpOps(Protocol):
    """One platform's half of a kernel's FADump."""

    def scan(self, tree: DeviceTree) -> Steps[None]:
        """Look for an active dump; if there is one, take its configuration over."""

    def setup_metadata(self) -> Steps[Errno]:
        """Tell the firmware where the kernel's metadata will be."""

    def init_mem_struct(self) -> None:
        """Write down what is to be registered."""

    def register(self) -> Steps[Errno]:
        """Ask the firmware to take a dump at a crash."""

    def unregister(self) -> Steps[Errno]:
        """Withdraw that."""

    def invalidate(self) -> Steps[Errno]:
        """Tell the firmware that its dump has been dealt with."""

    def cleanup(self) -> Steps[None]:
        """Withdraw what else the platform has registered."""

    def process(self, header: Header) -> list[Registers] | None:
        """The CPUs of a dump, as their notes have them; None if the dump is not valid."""

    def trigger(self, cpu: int, message: str) -> Steps[None]:
        """Report a crash. Where the firmware takes the dump, this never goes on."""

    def region_show(self) -> str:
        """The debugfs file fadump_region."""
