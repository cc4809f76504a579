"""A CPU's registers, independent of the platform's format.

Names are those of LoPAR's register save area; :mod:`.pseries.register_save_area` writes the names,
:mod:`.powernv.cpu_data` the instruction set's numbers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

PAPR_TO_PT_REGS: Mapping[str, str] = MappingProxyType(
    {
        **{f"GPR{number:02}": f"gpr{number}" for number in range(32)},
        "NIA": "nip",
        "MSR": "msr",
        "CTR": "ctr",
        "LR": "link",
        "XER": "xer",
        "CR": "ccr",
        "DAR": "dar",
        "DSISR": "dsisr",
    }
)
"""The registers that Linux copies from the firmware's data to a CPU's note, and their names in pt_regs.

Linux: rtas_fadump_set_regval() and opal_fadump_set_regval_regnum(). The rest of pt_regs is 0 there.
"""


@dataclass(frozen=True, slots=True)
class CpuRegisters:
    """One CPU's registers at the crash.

    ``cpu_id`` is the platform's number of the CPU: Linux's logical CPU number on pseries, the PIR on powernv.
    ``values`` maps PAPR's register names ("GPR00", "NIA", "MSR", ...) to 64-bit values, 4-byte registers in
    the low word. A name that is absent could not be read.
    """

    cpu_id: int
    values: Mapping[str, int]
