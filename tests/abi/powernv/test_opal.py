import pytest

from fadump.abi.powernv.opal import OpalStatus, OpalToken, RebootType, real_address


def test_the_numbers_are_those_of_linuxs_opal_api_h():
    assert {token.name: int(token) for token in OpalToken} == {
        "CEC_REBOOT2": 116,
        "MPIPL_UPDATE": 173,
        "MPIPL_REGISTER_TAG": 174,
        "MPIPL_QUERY_TAG": 175,
    }
    assert {status.name: int(status) for status in OpalStatus} == {
        "SUCCESS": 0,
        "PARAMETER": -1,
        "BUSY": -2,
        "PARTIAL": -3,
        "CONSTRAINED": -4,
        "CLOSED": -5,
        "HARDWARE": -6,
        "UNSUPPORTED": -7,
        "PERMISSION": -8,
        "NO_MEM": -9,
        "RESOURCE": -10,
        "INTERNAL_ERROR": -11,
        "BUSY_EVENT": -12,
        "WRONG_STATE": -14,
    }
    assert [kind.name for kind in RebootType] == ["NORMAL", "PLATFORM_ERROR", "FULL_IPL", "MPIPL", "FAST"]
    assert [int(kind) for kind in RebootType] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("pointer", "address"),
    [
        (0, 0),
        (0x1234, 0x1234),
        (0xC000_0000_0000_1234, 0x1234),
        (0xC000_0000_0000_0000, 0),
        (0x0FFF_FFFF_FFFF_FFFF, 0x0FFF_FFFF_FFFF_FFFF),
        (0xCFFF_FFFF_FFFF_FFFF, 0x0FFF_FFFF_FFFF_FFFF),
        (0x1000_0000_0000_0000, None),
        (0x8000_0000_0000_1234, None),
        (0xD000_0000_0000_1234, None),
        (0xFFFF_FFFF_FFFF_FFFF, None),
    ],
    ids=lambda value: value if value is None else f"{value:#x}",
)
def test_pointers_are_real_or_in_the_linear_mapping(pointer, address):
    assert real_address(pointer) == address
