"""The numbers of registers in HDAT's CPU data, by their names in PAPR.

Step "preserve" of docs/architecture.md. Specification: Linux, arch/powerpc/platforms/powernv/opal-fadump.h, for
the types and for NIP, MSR and CR; special purpose registers have the instruction set's numbers, SPRN_* in
arch/powerpc/include/asm/reg.h. Registers without such a number are not in CPU data: FPRs, VRs, VSRs, FPSCR, VSCR, and
TSR, LMRR and LMSER, which Linux has no number for.
"""

from enum import IntEnum


class RegisterType(IntEnum):
    """First word of a register entry."""

    NONE = 0
    """Not a register. Linux checks for the special numbers below 2000 with any type, and none of them is 0."""
    GPR = 1
    SPR = 2


_GIVEN = {
    "NIA": 0x7D0,
    "MSR": 0x7D1,
    "CR": 0x7D2,
    "XER": 0x001,
    "LR": 0x008,
    "CTR": 0x009,
    "DSCR": 0x011,
    "DSISR": 0x012,
    "DAR": 0x013,
    "DEC": 0x016,
    "SRR0": 0x01A,
    "SRR1": 0x01B,
    "CFAR": 0x01C,
    "AMR": 0x01D,
    "ACOP": 0x01F,
    "PID": 0x030,
    "IAMR": 0x03D,
    "TFHAR": 0x080,
    "TFIAR": 0x081,
    "TEXASR": 0x082,
    "CTRL": 0x088,
    "TID": 0x090,
    "FSCR": 0x099,
    "UAMOR": 0x09D,
    "PSPB": 0x09F,
    "DPDES": 0x0B0,
    "DAWR0": 0x0B4,
    "RPR": 0x0BA,
    "CIABR": 0x0BB,
    "DAWRX0": 0x0BC,
    "VRSAVE": 0x100,
    "TB": 0x10C,
    "SPRG0": 0x110,
    "SPRG1": 0x111,
    "SPRG2": 0x112,
    "SPRG3": 0x113,
    "PVR": 0x11F,
    "SPURR": 0x134,
    "PURR": 0x135,
    "TIR": 0x1BE,
    "SIER": 0x310,
    "MMCR2": 0x311,
    "MMCRA": 0x312,
    "PMC1": 0x313,
    "PMC2": 0x314,
    "PMC3": 0x315,
    "PMC4": 0x316,
    "PMC5": 0x317,
    "PMC6": 0x318,
    "MMCR0": 0x31B,
    "SIAR": 0x31C,
    "SDAR": 0x31D,
    "MMCR1": 0x31E,
    "EBBHR": 0x324,
    "EBBRR": 0x325,
    "BESCR": 0x326,
    "TAR": 0x32F,
    "IC": 0x350,
    "VTB": 0x351,
    "PSSCR": 0x357,
    "WORC": 0x35F,
    "SPMC1": 0x37C,
    "SPMC2": 0x37D,
    "MMCRS": 0x37E,
    "WORT": 0x37F,
    "DABR": 0x3F5,
    "DABRX": 0x3F7,
    "PIR": 0x3FF,
}

NUMBERS: dict[str, tuple[RegisterType, int]] = {
    **{f"GPR{number:02}": (RegisterType.GPR, number) for number in range(32)},
    **{name: (RegisterType.SPR, number) for name, number in _GIVEN.items()},
}
"""Type and number by PAPR's name: the general purpose registers, NIP (which PAPR calls NIA), MSR, CR, then SPRs."""

_NAMES: dict[tuple[int, int], str] = {number: name for name, number in NUMBERS.items()}


def register_name(type_: int, number: int) -> str:
    """PAPR's name; "GPR40", "SPR313" or "TYPE3-17" for a register without one."""
    name = _NAMES.get((type_, number))
    if name is not None:
        return name
    match type_:
        case RegisterType.GPR:
            return f"GPR{number}"
        case RegisterType.SPR:
            return f"SPR{number}"
    return f"TYPE{type_}-{number}"
