"""The entry page: a few instructions in the guest that let only our firmware calls stop it.

The device tree tells Linux where its firmware is entered. We name our code there: it compares the call's token
with ours, falls on a ``nop`` that has a breakpoint if it is one, and branches to the real firmware otherwise.

RTAS, ``linux,rtas-entry`` (LoPAR, "RTAS Environment"; Linux arch/powerpc/kernel/rtas_entry.S): real mode, 32-bit,
big-endian, r3 holds the physical address of the arguments, LR the return; r0, r5 to r12 and cr0 may be clobbered.
OPAL, ``opal-entry-address`` (skiboot, asm/head.S, opal_entry; Linux arch/powerpc/platforms/powernv/opal-wrappers.S):
real mode, 64-bit, big-endian, r0 holds the token, r3 to r10 the arguments, r2 OPAL's base; r11, r12, ctr and cr0 are
free.

:func:`client_page` does the same for a service of Open Firmware (IEEE 1275, "Client Interface", and its PowerPC
binding; Linux arch/powerpc/kernel/prom_entry_64.S): real mode, 32-bit, big-endian, r3 holds the address of the
arguments, of which the first is the address of the service's name, LR the return; r4 to r12, ctr and cr0 may be
clobbered.
"""

import struct
from collections.abc import Collection
from dataclasses import dataclass

_NOP = 0x6000_0000
_LWZ_R5_0_R3 = 0x80A3_0000
_LIS_R6 = 0x3CC0_0000
_ORI_R6_R6 = 0x60C6_0000
_CMPLW_R5_R6 = 0x7C05_3040
_BEQ = 0x4182_0000
_B = 0x4800_0000
_CMPLDI_R0 = 0x2820_0000
_LIS_R12 = 0x3D80_0000
_ORI_R12_R12 = 0x618C_0000
_ORIS_R12_R12 = 0x658C_0000
_SLDI_R12_R12_32 = 0x798C_07C6
_MTCTR_R12 = 0x7D89_03A6
_BCTR = 0x4E80_0420
_LWZ_R11_0_R3 = 0x8163_0000
_LWZ_R11_0_R11 = 0x816B_0000
_CMPLW_R11_R12 = 0x7C0B_6040
_BNE = 0x4082_0000
_BA = 0x4800_0002
MFLR_R4 = 0x7C88_02A6
"""The instruction that SLOF's client interface begins with (lib/libc, board-qemu/llfw: client entry)."""


@dataclass(frozen=True, slots=True)
class EntryPage:
    """Machine code for ``address`` (big-endian words); at ``stop_address`` one of our calls has been made."""

    address: int
    code: bytes
    stop_address: int

    @property
    def pass_address(self) -> int:
        """Where to go on if the machine's own firmware shall serve the call after all."""
        return self.stop_address + 4


def rtas_entry_page(address: int, tokens: Collection[int], real_entry: int) -> EntryPage:
    """Code that stops for ``tokens`` and leaves every other call to ``real_entry``.

    :raises ValueError: ``real_entry`` is out of a relative branch's reach, 32 MiB.
    """
    words: list[int] = [_LWZ_R5_0_R3]
    body_words = 1 + 4 * len(tokens) + 1  # load, compare each, branch away
    for token in sorted(tokens):
        words += [_LIS_R6 | token >> 16, _ORI_R6_R6 | token & 0xFFFF, _CMPLW_R5_R6]
        words.append(_BEQ | 4 * (body_words - len(words)))
    words.append(_branch(address + 4 * len(words), real_entry))
    stop_address = address + 4 * len(words)
    words.append(_NOP)
    words.append(_branch(address + 4 * len(words), real_entry))
    return EntryPage(address, struct.pack(f">{len(words)}I", *words), stop_address)


def opal_entry_page(address: int, tokens: Collection[int], real_entry: int) -> EntryPage:
    """Code that stops for ``tokens``, of 16 bits, and leaves every other call to ``real_entry``."""
    go_on = [
        _LIS_R12 | real_entry >> 48,
        _ORI_R12_R12 | real_entry >> 32 & 0xFFFF,
        _SLDI_R12_R12_32,
        _ORIS_R12_R12 | real_entry >> 16 & 0xFFFF,
        _ORI_R12_R12 | real_entry & 0xFFFF,
        _MTCTR_R12,
        _BCTR,
    ]
    words: list[int] = []
    stop_index = 2 * len(tokens) + len(go_on)  # compare each, go on
    for token in sorted(tokens):
        words.append(_CMPLDI_R0 | token)
        words.append(_BEQ | 4 * (stop_index - len(words)))
    words += go_on
    words.append(_NOP)
    words.append(_branch(4 * len(words), 4 * (stop_index - len(go_on))))
    return EntryPage(address, struct.pack(f">{len(words)}I", *words), address + 4 * stop_index)


def client_page(address: int, name: bytes, client_entry: int) -> EntryPage:
    """Code that stops for services of Open Firmware whose name begins with the four bytes of ``name``.

    A branch to it takes the place of :data:`MFLR_R4` at ``client_entry``, below 2 GiB, and is made up for here.
    """
    letters = int.from_bytes(name, "big")
    go_on = client_entry + 4
    words = [
        _LWZ_R11_0_R3,
        _LWZ_R11_0_R11,
        _LIS_R12 | letters >> 16,
        _ORI_R12_R12 | letters & 0xFFFF,
        _CMPLW_R11_R12,
        _BNE | 8,
        _NOP,
        MFLR_R4,
        _LIS_R12 | go_on >> 16,
        _ORI_R12_R12 | go_on & 0xFFFF,
        _MTCTR_R12,
        _BCTR,
    ]
    return EntryPage(address, struct.pack(f">{len(words)}I", *words), address + 4 * words.index(_NOP))


def branch_absolute(address: int) -> bytes:
    """An instruction that leads to ``address``, in the lowest 32 MiB, from anywhere."""
    return struct.pack(">I", _BA | address)


def _branch(source: int, target: int) -> int:
    distance = target - source
    if not -(1 << 25) <= distance < 1 << 25:
        raise ValueError(f"no branch reaches from {source:#x} to {target:#x}")
    return _B | distance & 0x03FF_FFFC
