"""The embedded machine's CPUs: registers from a seed, other ones at each crash.

Step "crash" of docs/architecture.md. Names are PAPR's (:mod:`fadump.abi.registers`). Addresses look like a kernel's, so
that a reader of a dump finds them in the linear map.
"""

from collections.abc import Mapping

from fadump.abi.linux.page_table import PAGE_OFFSET
from fadump.abi.registers import CpuRegisters
from fadump.kernel.image.content import seeded
from fadump.kernel.image.stacks import Doing

_PVR_POWER9 = 0x004E_1202
_SPECIAL = ("CTR", "CFAR", "SRR0", "SPRG1", "SPRG3", "TB", "PURR", "SPURR", "DSCR", "VTB", "IC")


def cpu_registers(cpu_id: int, doing: Doing, seed: str) -> CpuRegisters:
    """One CPU's registers, of which those that a backtrace begins with are where it is."""
    source = seeded(f"{seed} CPU {cpu_id}")
    values = {f"GPR{number:02}": source.getrandbits(64) for number in range(32)}
    values |= {name: source.getrandbits(64) for name in _SPECIAL}
    values |= {
        "GPR01": doing.gpr1,
        "NIA": doing.nip,
        "LR": doing.link,
        "MSR": doing.msr,
        "CR": source.getrandbits(32),
        "XER": source.getrandbits(3) << 29,
        "DAR": PAGE_OFFSET | source.getrandbits(32),
        "DSISR": source.getrandbits(32),
        "PVR": _PVR_POWER9,
        "PIR": cpu_id,
        "FPSCR": source.getrandbits(32),
    }
    values |= {f"FPR{number:02}": source.getrandbits(64) for number in range(32)}
    return CpuRegisters(cpu_id, values)


def saved_registers(values: Mapping[str, int], names: Mapping[str, str]) -> dict[str, int]:
    """What a kernel on that CPU saves in its pt_regs; ``names`` leads from PAPR's names to those."""
    return {names[name]: value for name, value in values.items() if name in names}
