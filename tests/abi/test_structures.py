"""Every structure that has a layout, against bytes written by hand from its specification.

The tests' builders take their offsets from the same layouts, so a wrong one would be wrong on both sides. Here the
offsets are written out. Each field has a value that no other field of its structure has.
"""

import importlib
import pkgutil

import pytest

import fadump
from fadump.abi import elf
from fadump.abi.layout import Layout
from fadump.abi.linux import crash_info
from fadump.abi.linux.btf import BTF_HEADER, BtfHeader
from fadump.abi.linux.crash_info import CrashInfoHeader, OldCrashInfoHeader
from fadump.abi.linux.prstatus import PRSTATUS, ElfPrstatus
from fadump.abi.powernv import cpu_data, kernel_metadata, mpipl
from fadump.abi.pseries import dump_structure, hash_table, register_save_area, rtas
from fadump.abi.pseries.dump_structure import SectionError
from fadump.vmcore import kdump_header

REGISTERS = (0xA0A0, *[0] * 31, 0xB1B1, *[0] * 10, 0xC2C2)
"""gpr0, nip (word 32) and result (word 43)."""

BY_HAND = {
    "Elf64_Ehdr (gABI, ELF Header)": (
        elf.ELF_HEADER,
        elf.ElfHeader(b"\x7fELF", 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18),
        """
        00: 7f454c46 02 03 04 05
        10: 0006 0007 00000008
        18: 0000000000000009
        20: 000000000000000a
        28: 000000000000000b
        30: 0000000c 000d 000e
        38: 000f 0010 0011 0012
        """,
    ),
    "Elf64_Phdr (gABI, Program Header)": (
        elf.PROGRAM_HEADER,
        elf.ProgramHeader(1, 2, 3, 4, 5, 6, 7, 8),
        """
        00: 00000001 00000002
        08: 0000000000000003
        10: 0000000000000004
        18: 0000000000000005
        20: 0000000000000006
        28: 0000000000000007
        30: 0000000000000008
        """,
    ),
    "Elf64_Shdr (gABI, Sections)": (
        elf.SECTION_HEADER,
        elf.SectionHeader(1, 2, 3, 4, 5, 6, 7, 8, 9, 10),
        """
        00: 00000001 00000002
        08: 0000000000000003
        10: 0000000000000004
        18: 0000000000000005
        20: 0000000000000006
        28: 00000007 00000008
        30: 0000000000000009
        38: 000000000000000a
        """,
    ),
    "Elf64_Sym (gABI, Symbol Table)": (
        elf.SYMBOL,
        elf.Symbol(1, 2, 3, 4, 5, 6),
        """
        00: 00000001 02 03 0004
        08: 0000000000000005
        10: 0000000000000006
        """,
    ),
    "Elf64_Nhdr (include/uapi/linux/elf.h)": (
        elf.NOTE_HEADER,
        elf.NoteHeader(1, 2, 3),
        """
        00: 00000001 00000002 00000003
        """,
    ),
    "struct elf_prstatus (include/linux/elfcore.h)": (
        PRSTATUS,
        ElfPrstatus(pr_cursig=11, pr_pid=12, pr_ppid=13, pr_reg=REGISTERS, pr_fpvalid=1),
        """
        00c: 000b
        020: 0000000c 0000000d
        070: 000000000000a0a0
        170: 000000000000b1b1
        1c8: 000000000000c2c2
        1f0: 00000001 00000000
        """,
    ),
    "struct fadump_crash_info_header (fadump-internal.h)": (
        crash_info.CRASH_INFO_HEADER,
        CrashInfoHeader(int.from_bytes(b"FADMPSIG", "big"), 1, 2, 3, 4, 5, 6, REGISTERS),
        """
        000: 4641444d50534947 00000001 00000002
        010: 0000000000000003 0000000000000004
        020: 00000005 00000006
        028: 000000000000a0a0
        128: 000000000000b1b1
        180: 000000000000c2c2
        """,
    ),
    "struct fadump_crash_info_header (the same before v6.10)": (
        crash_info.OLD_CRASH_INFO_HEADER,
        OldCrashInfoHeader(int.from_bytes(b"FADMPINF", "big"), 1, 2, REGISTERS),
        """
        000: 4641444d50494e46 0000000000000001
        010: 00000002
        018: 000000000000a0a0
        118: 000000000000b1b1
        170: 000000000000c2c2
        """,
    ),
    "struct rtas_args, its head (asm/rtas-types.h)": (
        rtas.HEAD,
        rtas.RtasHead(0x202D, 3, 1),
        """
        00: 0000202d 00000003 00000001
        """,
    ),
    "struct btf_header (Linux include/uapi/linux/btf.h)": (
        BTF_HEADER,
        BtfHeader(0xEB9F, 2, 3, 4, 5, 6, 7, 8),
        """
        00: eb9f 02 03 00000004
        08: 00000005 00000006
        10: 00000007 00000008
        """,
    ),
    "ibm,configure-kernel-dump-sizes (LoPAR)": (
        rtas.SECTION_SIZE,
        rtas.SectionSize(1, 0x1_0000_4000),
        """
        00: 00000001
        04: 0000000100004000
        """,
    ),
    "ibm,configure-kernel-dump-version (LoPAR)": (
        rtas.VERSIONS,
        rtas.DumpVersions(1, 2),
        """
        00: 0001 0002
        """,
    ),
    "the dump memory structure's header (LoPAR; struct rtas_fadump_section_header)": (
        dump_structure.HEADER,
        dump_structure.DumpHeader(1, 2, 3, 4, 5, 6, 7, 8, 9),
        """
        00: 00000001 0002 0003
        08: 00000004 00000005
        10: 0000000000000006
        18: 0000000000000007
        20: 00000008 00000009
        """,
    ),
    "a dump memory structure's section (LoPAR; struct rtas_fadump_section)": (
        dump_structure.SECTION,
        dump_structure.DumpSection(1, 2, SectionError(0x8000), 3, 4, 5, 6),
        """
        00: 00000001 0002 8000
        08: 0000000000000003
        10: 0000000000000004
        18: 0000000000000005
        20: 0000000000000006
        """,
    ),
    "the register save area's header (LoPAR; struct rtas_fadump_reg_save_area_header)": (
        register_save_area.HEADER,
        register_save_area.AreaHeader(b"REGSAVE\0", 1, 0x20),
        """
        00: 5245475341564500
        08: 00000001 00000020
        """,
    ),
    "the register save area's CPU count (LoPAR)": (
        register_save_area.CPU_COUNT,
        register_save_area.CpuCount(0x102),
        """
        00: 00000102
        """,
    ),
    "a register entry (LoPAR; struct rtas_fadump_reg_entry)": (
        register_save_area.ENTRY,
        register_save_area.RegisterEntry(b"CPUSTRT\0", 0x24),
        """
        00: 4350555354525400
        08: 0000000000000024
        """,
    ),
    "a hash page table entry (Power ISA; struct hash_pte in asm/book3s/64/mmu-hash.h)": (
        hash_table.ENTRY,
        hash_table.HashTableEntry(0x4000_0000_0000_0001, 0x192),
        """
        00: 4000000000000001
        08: 0000000000000192
        """,
    ),
    "struct opal_mpipl_fadump (asm/opal-api.h)": (
        mpipl.METADATA,
        mpipl.MetadataHeader(1, 2, 3, 4, 5),
        """
        00: 01
        08: 00000002 00000003
        10: 00000004 00000005
        """,
    ),
    "struct opal_mpipl_region (asm/opal-api.h)": (
        mpipl.REGION,
        mpipl.MpiplRegion(1, 2, 3),
        """
        00: 0000000000000001
        08: 0000000000000002
        10: 0000000000000003
        """,
    ),
    "struct opal_fadump_mem_struct, up to its regions (opal-fadump.h)": (
        kernel_metadata.HEADER,
        kernel_metadata.KernelMetadataHeader(1, 2, 3, 4),
        """
        00: 01
        04: 0002 0003
        08: 0000000000000004
        """,
    ),
    "struct hdat_fadump_thread_hdr (opal-fadump.h)": (
        cpu_data.THREAD,
        cpu_data.ThreadHeader(1, 2, 3, 4, 5, 6),
        """
        00: 00000001 02
        08: 00000003 00000004
        10: 00000005 00000006
        """,
    ),
    "struct hdat_fadump_reg_entry (opal-fadump.h)": (
        cpu_data.ENTRY,
        cpu_data.RegisterEntry(1, 2, 3),
        """
        00: 00000001 00000002
        08: 0000000000000003
        """,
    ),
    "struct disk_dump_header (makedumpfile, diskdump_mod.h)": (
        kdump_header.HEADER,
        kdump_header.DiskDumpHeader(
            b"KDUMP   ",
            *(1, b"s".ljust(65, b"\0"), b"n".ljust(65, b"\0"), b"r".ljust(65, b"\0"), b"v".ljust(65, b"\0")),
            *(b"m".ljust(65, b"\0"), b"d".ljust(65, b"\0"), 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13),
        ),
        """
        000: 4b44554d50202020 00000001
        00c: 73
        04d: 6e
        08e: 72
        0cf: 76
        110: 6d
        151: 64
        198: 0000000000000002 0000000000000003
        1a8: 00000004 00000005
        1b0: 00000006 00000007
        1b8: 00000008 00000009
        1c0: 0000000a 0000000b
        1c8: 0000000c 0000000d
        """,
    ),
    "struct kdump_sub_header (makedumpfile, diskdump_mod.h)": (
        kdump_header.SUB_HEADER,
        kdump_header.KdumpSubHeader(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14),
        """
        00: 0000000000000001
        08: 00000002 00000003
        10: 0000000000000004 0000000000000005
        20: 0000000000000006 0000000000000007
        30: 0000000000000008 0000000000000009
        40: 000000000000000a 000000000000000b
        50: 000000000000000c 000000000000000d
        60: 000000000000000e
        """,
    ),
    "struct page_desc (makedumpfile, diskdump_mod.h)": (
        kdump_header.DESCRIPTOR,
        kdump_header.Descriptor(1, 2, 3),
        """
        00: 0000000000000001
        08: 00000002 00000003
        10: 0000000000000000
        """,
    ),
}
"""Layout, a record of it, and its bytes in big-endian order: offset and content; what isn't listed is zero."""


def from_hand(listing):
    blob = bytearray()
    for line in listing.split("\n"):
        offset, _, content = line.partition(":")
        if content:
            blob = blob.ljust(int(offset, 16), b"\0") + bytes.fromhex(content)
    return bytes(blob)


@pytest.mark.parametrize(("layout", "record", "listing"), BY_HAND.values(), ids=BY_HAND.keys())
def test_a_structure_is_the_bytes_of_its_specification(layout, record, listing):
    big = layout.in_order("big")
    by_hand = from_hand(listing)
    assert big.encode(record) == by_hand
    assert big.decode(by_hand) == record
    assert layout.size_bytes == len(by_hand)


def test_every_structure_is_here():
    modules = (module.name for module in pkgutil.walk_packages(fadump.__path__, "fadump."))
    names = [name for name in modules if not name.endswith("__main__")]
    declared = {
        id(value): f"{name}.{attribute}"
        for name in names
        for attribute, value in vars(importlib.import_module(name)).items()
        if isinstance(value, Layout)
    }
    by_hand = {id(layout) for layout, _record, _listing in BY_HAND.values()}
    assert [where for identity, where in declared.items() if identity not in by_hand] == []
