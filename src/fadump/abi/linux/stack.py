"""Stack frames of ppc64, and where Linux saves registers at an interrupt.

Specification: 64-bit ELF V2 ABI, "The Stack Frame"; Linux arch/powerpc/include/asm/ptrace.h and show_stack() in
arch/powerpc/kernel/process.c. All in the kernel's byte order.

    0x00  u64  back chain: the caller's frame; 0 ends it
    0x10  u64  return address of a function called by this frame's owner, which saves it here

An interrupt's frame has a marker, followed by struct pt_regs: at 0x20 and 0x30 with ELFv2 since Linux 6.2, at 0x60
and 0x70 with ELFv1 and before that.
"""

BACK_CHAIN_OFFSET = 0x00
RETURN_ADDRESS_OFFSET = 0x10
FRAME_ALIGNMENT = 16

INSTRUCTION_BYTES = 4

INTERRUPT_PLACES = ((0x20, 0x30), (0x60, 0x70))
"""Offsets of the marker and of pt_regs."""
INTERRUPT_MARKERS = frozenset({0x5245_4753, 0x5347_4552, 0x7265_6773_6865_7265})
""""REGS" in either byte order, and "regshere" before Linux 6.3."""

MSR_PR = 0x4000
"""The bit of the MSR that is set in user space."""
MSR_IR, MSR_DR = 0x20, 0x10
"""The bits that have addresses of instructions and data translated, as the kernel's are but in a few places."""
