"""NT_PRSTATUS of ppc64: the note of a CPU's registers and of the process that it ran.

Steps "crash" and "capture boot" of docs/architecture.md. Linux: struct elf_prstatus, include/linux/elfcore.h; pr_reg is
elf_gregset_t of arch/powerpc/include/uapi/asm/elf.h, the kernel's pt_regs. In the byte order of the dump.
"""

from typing import Annotated, NamedTuple

from fadump.abi.layout import Layout, s16, s32, u64
from fadump.abi.linux.pt_regs import REGISTER_NAMES


class ElfPrstatus(NamedTuple):
    """``pr_reg`` has the registers of :data:`.pt_regs.REGISTER_NAMES`; four more words are the kernel's own."""

    pr_cursig: Annotated[int, s16(0x0C)]
    pr_pid: Annotated[int, s32(0x20)]
    pr_ppid: Annotated[int, s32(0x24)]
    pr_reg: Annotated[tuple[int, ...], u64(0x70, len(REGISTER_NAMES))]
    pr_fpvalid: Annotated[int, s32(0x1F0)] = 0


PRSTATUS = Layout(ElfPrstatus, "NT_PRSTATUS", "little", size_bytes=0x1F8)
