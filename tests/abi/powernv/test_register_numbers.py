import pytest

from fadump.abi.powernv.register_numbers import NUMBERS, RegisterType, register_name
from fadump.abi.pseries.register_names import REGISTERS

GPR, SPR = RegisterType.GPR, RegisterType.SPR


def test_the_types_are_those_of_opal_fadump_h():
    assert (RegisterType.NONE, GPR, SPR) == (0, 0x01, 0x02)


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
