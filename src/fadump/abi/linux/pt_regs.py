"""pt_regs of ppc64: the registers that Linux saves, in its order. Linux arch/powerpc/include/uapi/asm/ptrace.h.

``trap`` is the vector of the interrupt at which they were saved: Power ISA, Book III, "Interrupt Vectors".
"""

from collections.abc import Mapping
from types import MappingProxyType

REGISTER_NAMES = (
    *(f"gpr{number}" for number in range(32)),
    *("nip", "msr", "orig_gpr3", "ctr", "link", "xer", "ccr", "softe", "trap", "dar", "dsisr", "result"),
)
"""Unsigned 64-bit words in the kernel's byte order; what follows them differs between kernels."""

PT_REGS_BYTES = 384
"""sizeof(struct pt_regs): these registers and four more words."""

TRAPS: Mapping[int, str] = MappingProxyType(
    {
        0x100: "a system reset interrupt (NMI)",
        0x200: "a machine check",
        0x300: "a bad data access",
        0x380: "a bad data access",
        0x400: "a bad instruction access",
        0x480: "a bad instruction access",
        0x600: "an unaligned access",
        0x700: "a program check",
    }
)
"""The names of those that a kernel crashes with."""
DATA_TRAPS = frozenset({0x300, 0x380, 0x600})
"""Those that set DAR to the address of the access."""


def led_to_dump(trap: int) -> str:
    """What a kernel has crashed with that wrote nothing about it."""
    return f"{TRAPS.get(trap, f'interrupt {trap:#x}')} led straight to the dump"
