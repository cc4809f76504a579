"""A program for the guest that loads a crash kernel: busybox has none, and it takes no more than one system call.

``kexec COMMAND-LINE 3<KERNEL 4<INITRD`` ends with 0, or with the error of kexec_file_load(2). Linux reads the kernel,
an ELF file, adds what the crash kernel has to know, and puts all of it into the memory that it has reserved
(arch/powerpc/kexec/elf_64.c).
"""

import struct

from fadump.abi.elf import EM_PPC64

_ADDRESS = 0x1000_0000
_HEADERS_BYTES = 64 + 56
_ET_EXEC, _PT_LOAD, _READ_AND_EXECUTE = 2, 1, 5
_ABI_V2 = 2
_ALIGN_BYTES = 0x10000
"""The largest page size."""

_CODE = (
    0xE8C1_0010,  # ld    r6, 16(r1)     r6: the argument; the stack has their number and the program's name first
    0x38A0_0000,  # li    r5, 0          r5: its length with the zero at its end
    0x7C06_28AE,  # lbzx  r0, r6, r5
    0x38A5_0001,  # addi  r5, r5, 1
    0x2C00_0000,  # cmpwi r0, 0
    0x4082_FFF4,  # bne   .-12
    0x3860_0003,  # li    r3, 3          the kernel
    0x3880_0004,  # li    r4, 4          its initramfs
    0x38E0_0002,  # li    r7, 2          KEXEC_FILE_ON_CRASH
    0x3800_017E,  # li    r0, 382        kexec_file_load
    0x4400_0002,  # sc                   r3: 0 or the error
    0x3800_0001,  # li    r0, 1          exit
    0x4400_0002,  # sc
)


def kexec_program() -> bytes:
    """The program, an ELF file for a little-endian ppc64 Linux."""
    code = struct.pack(f"<{len(_CODE)}I", *_CODE)
    size_bytes = _HEADERS_BYTES + len(code)
    ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    entry = _ADDRESS + _HEADERS_BYTES
    header = struct.pack("<HHIQQQIHHHHHH", _ET_EXEC, EM_PPC64, 1, entry, 64, 0, _ABI_V2, 64, 56, 1, 0, 0, 0)
    segment = struct.pack(
        "<IIQQQQQQ", _PT_LOAD, _READ_AND_EXECUTE, 0, _ADDRESS, _ADDRESS, *[size_bytes] * 2, _ALIGN_BYTES
    )
    return ident + header + segment + code
