"""Programs for the guest that load a kernel and start it: busybox has none, and they take no more than a system call
each.

``kexec COMMAND-LINE 3<KERNEL 4<INITRD`` loads a crash kernel, and ends with 0 or with the error of kexec_file_load(2).
Linux reads the kernel, an ELF file, adds what the crash kernel has to know, and puts all of it into the memory that it
has reserved (arch/powerpc/kexec/elf_64.c). ``load`` does the same with a kernel that ``start`` starts at once, in place
of the one that runs, by reboot(2); if it comes back, with its error.
"""

import struct
from enum import StrEnum

from fadump.abi.elf import EM_PPC64


class Kexec(StrEnum):
    """The system call by which petitboot loads the system's kernel, as kexec's options are called."""

    LOAD = "l"
    """kexec_load(2), from kexec-tools: what petitboot does."""
    FILE_LOAD = "s"
    """kexec_file_load(2)."""


_ADDRESS = 0x1000_0000
_HEADERS_BYTES = 64 + 56
_ET_EXEC, _PT_LOAD, _READ_AND_EXECUTE = 2, 1, 5
_ABI_V2 = 2
_ALIGN_BYTES = 0x10000
"""The largest page size."""
_LI_R7 = 0x38E0_0000
_KEXEC_FILE_ON_CRASH = 2

_EXIT = (
    0x3800_0001,  # li    r0, 1          exit
    0x4400_0002,  # sc
)
_START = (
    0x3C60_FEE1,  # lis   r3, 0xfee1     r3: LINUX_REBOOT_MAGIC1
    0x6063_DEAD,  # ori   r3, r3, 0xdead
    0x3C80_2812,  # lis   r4, 0x2812     r4: LINUX_REBOOT_MAGIC2
    0x6084_1969,  # ori   r4, r4, 0x1969
    0x3CA0_4558,  # lis   r5, 0x4558     r5: LINUX_REBOOT_CMD_KEXEC
    0x60A5_4543,  # ori   r5, r5, 0x4543
    0x3800_0058,  # li    r0, 88         reboot
    0x4400_0002,  # sc                   r3: the error
    *_EXIT,
)


def _load(flags: int) -> tuple[int, ...]:
    return (
        0xE8C1_0010,  # ld    r6, 16(r1)     r6: the argument; the stack has their number and the program's name first
        0x38A0_0000,  # li    r5, 0          r5: its length with the zero at its end
        0x7C06_28AE,  # lbzx  r0, r6, r5
        0x38A5_0001,  # addi  r5, r5, 1
        0x2C00_0000,  # cmpwi r0, 0
        0x4082_FFF4,  # bne   .-12
        0x3860_0003,  # li    r3, 3          the kernel
        0x3880_0004,  # li    r4, 4          its initramfs
        _LI_R7 | flags,
        0x3800_017E,  # li    r0, 382        kexec_file_load
        0x4400_0002,  # sc                   r3: 0 or the error
        *_EXIT,
    )


def kexec_program() -> bytes:
    """The program that loads a crash kernel, an ELF file for a little-endian ppc64 Linux, as the others are."""
    return _program(_load(_KEXEC_FILE_ON_CRASH))


def load_program() -> bytes:
    """The program that loads a kernel to be started."""
    return _program(_load(0))


def start_program() -> bytes:
    """The program that starts the kernel that is loaded."""
    return _program(_START)


def _program(words: tuple[int, ...]) -> bytes:
    code = struct.pack(f"<{len(words)}I", *words)
    size_bytes = _HEADERS_BYTES + len(code)
    ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    entry = _ADDRESS + _HEADERS_BYTES
    header = struct.pack("<HHIQQQIHHHHHH", _ET_EXEC, EM_PPC64, 1, entry, 64, 0, _ABI_V2, 64, 56, 1, 0, 0, 0)
    segment = struct.pack(
        "<IIQQQQQQ", _PT_LOAD, _READ_AND_EXECUTE, 0, _ADDRESS, _ADDRESS, *[size_bytes] * 2, _ALIGN_BYTES
    )
    return ident + header + segment + code
