"""pt_regs of ppc64: the registers that Linux saves, in its order. Linux arch/powerpc/include/uapi/asm/ptrace.h."""

REGISTER_NAMES = (
    *(f"gpr{number}" for number in range(32)),
    *("nip", "msr", "orig_gpr3", "ctr", "link", "xer", "ccr", "softe", "trap", "dar", "dsisr", "result"),
)
"""Unsigned 64-bit words in the kernel's byte order; what follows them differs between kernels."""
