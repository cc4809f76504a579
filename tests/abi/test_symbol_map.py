"""skiboot's list of symbols, as nm prints it."""

import pytest

from fadump.abi.powernv.symbol_map import code_offset, find_symbol_map, symbols_of

TEXT = b"""0000000000000000 T __head
00000000000000f8 T attn_trigger
0000000000080000 t .p9_sbe_terminate
0000000000170000 D p9_sbe_terminate
"""


def test_it_is_found_in_memory_up_to_its_zero():
    assert find_symbol_map(bytes(100) + TEXT + b"\0" + TEXT) == TEXT
    assert find_symbol_map(memoryview(TEXT)) == TEXT  # cut off
    assert find_symbol_map(bytes(100)) == b""


def test_each_line_is_a_symbol_and_what_is_none_is_left_out():
    listed = list(symbols_of(TEXT + b"nonsense\n0000000000000010 T \xff\n" + b"0000000000000020 T last"))
    assert [(symbol.name, symbol.offset, symbol.kind, symbol.is_code) for symbol in listed] == [
        ("__head", 0, "T", True),
        ("attn_trigger", 0xF8, "T", True),
        (".p9_sbe_terminate", 0x80000, "t", True),
        ("p9_sbe_terminate", 0x170000, "D", False),
        ("last", 0x20, "T", True),
    ]


@pytest.mark.parametrize(
    ("name", "offset"),
    [
        ("p9_sbe_terminate", 0x80000),
        ("attn_trigger", 0xF8),
        ("trigger", None),
        ("attn_trigge", None),
        ("attn.trigger", None),
    ],
)
def test_a_functions_code_has_a_dot_or_none(name, offset):
    assert code_offset(TEXT, name) == offset
