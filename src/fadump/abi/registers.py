"""A CPU's registers, as the platforms' formats and a machine pass them to each other.

Names are those of LoPAR's register save area; :mod:`.pseries.register_save_area` writes them as they are,
:mod:`.powernv.cpu_data` by the numbers that the instruction set gives them.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CpuRegisters:
    """One CPU's registers at the crash.

    ``cpu_id`` is the platform's name of the CPU: Linux's logical CPU number on pseries, the PIR on powernv.
    ``values`` maps PAPR's register names ("GPR00", "NIA", "MSR", ...) to 64-bit values, 4-byte registers in
    the low word. A name that is absent could not be read.
    """

    cpu_id: int
    values: Mapping[str, int]
