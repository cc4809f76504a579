import pytest

from fadump.abi.powernv.register_numbers import NUMBERS, RegisterType, register_name
from fadump.abi.pseries.register_names import REGISTERS

GPR, SPR = RegisterType.GPR, RegisterType.SPR


def test_the_types_are_those_of_opal_fadump_h():
    assert (RegisterType.NONE, GPR, SPR) == (0, 0x01, 0x02)


POWER_ISA = """
XER 1, LR 8, CTR 9, DSCR 17, DSISR 18, DAR 19, DEC 22, SRR0 26, SRR1 27, CFAR 28, AMR 29, ACOP 31, PID 48, IAMR 61,
TFHAR 128, TFIAR 129, TEXASR 130, CTRL 136, TID 144, FSCR 153, UAMOR 157, PSPB 159, DPDES 176, DAWR0 180, RPR 186,
CIABR 187, DAWRX0 188, VRSAVE 256, TB 268, SPRG0 272, SPRG1 273, SPRG2 274, SPRG3 275, PVR 287, SPURR 308, PURR 309,
TIR 446, SIER 784, MMCR2 785, MMCRA 786, PMC1 787, PMC2 788, PMC3 789, PMC4 790, PMC5 791, PMC6 792, MMCR0 795,
SIAR 796, SDAR 797, MMCR1 798, EBBHR 804, EBBRR 805, BESCR 806, TAR 815, IC 848, VTB 849, PSSCR 855, WORC 863,
SPMC1 892, SPMC2 893, MMCRS 894, WORT 895, DABR 1013, DABRX 1015, PIR 1023
"""
"""Special purpose registers with their numbers, in decimal as the Power ISA and POWER8's manual list them."""


def test_every_special_register_has_the_number_of_the_isa():
    table = {name: int(number) for name, number in (entry.split() for entry in POWER_ISA.split(","))}
    firmware_only = {"NIA", "MSR", "CR"}  # HDAT_FADUMP_REG_ID_*, below
    found = {name: number for name, (type_, number) in NUMBERS.items() if type_ == SPR and name not in firmware_only}
    assert found == table


@pytest.mark.parametrize(
    ("name", "number"),
    [
        # what opal_fadump_set_regval_regnum() knows: HDAT_FADUMP_REG_ID_* and SPRN_* of asm/reg.h
        ("NIA", 0x7D0),
        ("MSR", 0x7D1),
        ("CR", 0x7D2),
        ("CTR", 0x009),
        ("LR", 0x008),
        ("XER", 0x001),
        ("DAR", 0x013),
        ("DSISR", 0x012),
        # some that asm/reg.h has in decimal
        ("MMCR0", 795),
        ("MMCR1", 798),
        ("MMCR2", 785),
        ("SIAR", 796),
        ("BESCR", 806),
        ("TID", 144),
        ("WORC", 863),
        ("WORT", 895),
        ("PIR", 1023),
    ],
)
def test_special_registers_have_linuxs_numbers(name, number):
    assert NUMBERS[name] == (SPR, number)


def test_general_registers_are_their_own_numbers():
    assert [NUMBERS[f"GPR{number:02}"] for number in range(32)] == [(GPR, number) for number in range(32)]


def test_every_name_is_paprs_and_every_number_stands_once():
    assert set(NUMBERS) <= set(REGISTERS)
    assert len(set(NUMBERS.values())) == len(NUMBERS)


def test_only_registers_that_have_no_number_are_left_out():
    left_out = {name for name in REGISTERS if name not in NUMBERS and not name.startswith(("FPR", "VR", "VSR"))}
    assert left_out == {"FPSCR", "VSCR", "TSR", "LMRR", "LMSER"}
    assert "VRSAVE" in NUMBERS


def test_names_lead_back():
    assert all(register_name(*number) == name for name, number in NUMBERS.items())
    assert register_name(2, 0x13F) == "SPR319"  # LPID: PAPR has no name for it
    assert register_name(1, 40) == "GPR40"
    assert register_name(3, 17) == "TYPE3-17"
