"""The kernel's log in memory: states, bits, and the fields whose offsets aren't in VMCOREINFO.

Linux: kernel/printk/printk_ringbuffer.h (struct printk_info, enum desc_state), since commit 896fbe20b4e2 (in v5.10),
and struct printk_log in kernel/printk/printk.c, before that. All in the kernel's byte order.

    printk_info, printk_log: text_len is followed, at these offsets from it, by
    printk_info  +0x02  u8  facility            printk_log  +0x04  u8  facility (after dict_len, u16)
                 +0x03  u8  flags:5, level:3                +0x05  u8  flags:5, level:3
                                                            +0x06  u32 caller_id, since v5.1, in a header of 20 bytes
"""

from enum import IntEnum, IntFlag

DESCRIPTOR_STATE_SHIFT = 62
"""A descriptor's state variable: the state in the top two bits, its id below."""
DESCRIPTOR_ID_MASK = (1 << DESCRIPTOR_STATE_SHIFT) - 1

INFO_FACILITY_OFFSET = 2
RECORD_FACILITY_OFFSET = 4
"""Both from text_len; the byte after each has flags and level."""
RECORD_CALLER_BYTES = 4
"""The size of a record's caller_id, which follows these where a header has room for it (CONFIG_PRINTK_CALLER)."""

DATALESS = 1
"""The bit in a text block's begin and next that means that there is no block."""
EMPTY_LINE = 3
"""EMPTY_LINE_LPOS, formerly NO_LPOS: both begin and next of a record whose text is empty."""
BLOCK_ID_BYTES = 8
"""The size of the descriptor's id, which precedes each text."""

CALLER_IS_CPU = 1 << 31
"""In caller_id: the rest is a processor's number, not a thread's."""


class DescriptorState(IntEnum):
    """The state of a descriptor's record."""

    RESERVED = 0
    COMMITTED = 1
    FINALIZED = 2
    REUSABLE = 3


class LogFlags(IntFlag):
    """Properties of a record's text."""

    NEWLINE = 2
    CONT = 8


def split_flags(flags_and_level: int, *, little_endian: bool) -> tuple[int, int]:
    """Flags and level in their common byte; the order of bit fields depends on the byte order."""
    if little_endian:
        return flags_and_level & 0x1F, flags_and_level >> 5
    return flags_and_level >> 3, flags_and_level & 7
