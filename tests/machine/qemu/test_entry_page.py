"""Read by a disassembler that we did not write; RTAS's run by an interpreter of just these instructions too."""

import struct
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fadump.machine.qemu.entry_page import client_page, opal_entry_page, rtas_entry_page

BASE = 0x2FFF_08A0
REAL_ENTRY = 0x2FFF_0000
tokens = st.sets(st.integers(0, 2**32 - 1), max_size=8)


def run(page, token):
    """Follow the code from its entry for a call with this token; returns where it leaves to or stops."""
    words = struct.unpack(f">{len(page.code) // 4}I", page.code)
    registers = {}
    equal = False
    pc = page.address
    while page.address <= pc < page.address + len(page.code) and pc != page.stop_address:
        word = words[(pc - page.address) // 4]
        offset = 4
        match word >> 26:
            case 32:  # lwz r5,0(r3)
                registers[5] = token
            case 15:  # lis
                registers[word >> 21 & 31] = (word & 0xFFFF) << 16
            case 24:  # ori
                registers[word >> 16 & 31] = registers[word >> 21 & 31] | word & 0xFFFF
            case 31:  # cmplw
                equal = registers[word >> 16 & 31] == registers[word >> 11 & 31]
            case 16:  # beq
                offset = word & 0xFFFC if equal else 4
            case 18:  # b
                offset = (word & 0x03FF_FFFC ^ 0x0200_0000) - 0x0200_0000
        pc += offset
    return pc


@given(tokens, st.integers(0, 2**32 - 1))
def test_only_our_tokens_stop(ours, token):
    page = rtas_entry_page(BASE, ours, REAL_ENTRY)
    assert run(page, token) == (page.stop_address if token in ours else REAL_ENTRY)


@given(tokens.filter(bool))
def test_each_of_our_tokens_stops(ours):
    page = rtas_entry_page(BASE, ours, REAL_ENTRY)
    assert {run(page, token) for token in ours} == {page.stop_address}


def disassembled(directory, page):
    (directory / "code").write_bytes(page.code)
    objdump = ["powerpc64le-linux-gnu-objdump", "-D", "-b", "binary", "-m", "powerpc:common64", "-EB"]
    text = subprocess.run(
        [*objdump, f"--adjust-vma={page.address:#x}", directory / "code"], capture_output=True, text=True, check=True
    ).stdout
    return [" ".join(line.split()[5:]) for line in text.splitlines() if line.count("\t") >= 2]


def test_a_disassembler_reads_what_was_meant(tmp_path):
    page = rtas_entry_page(BASE, [0x202D, 0x201F], REAL_ENTRY)
    instructions = disassembled(tmp_path, page)
    assert instructions == [
        "lwz r5,0(r3)",
        "lis r6,0",
        "ori r6,r6,8223",
        "cmplw r5,r6",
        f"beq {page.stop_address:#x}",
        "lis r6,0",
        "ori r6,r6,8237",
        "cmplw r5,r6",
        f"beq {page.stop_address:#x}",
        f"b {REAL_ENTRY:#x}",
        "nop",
        f"b {REAL_ENTRY:#x}",
    ]
    assert page.pass_address == page.stop_address + 4


def test_a_disassembler_reads_what_was_meant_for_open_firmware(tmp_path):
    page = client_page(0x3F00, b"quie", 0x7DAF_04C4)
    assert disassembled(tmp_path, page) == [
        "lwz r11,0(r3)",
        "lwz r11,0(r11)",
        "lis r12,29045",
        "ori r12,r12,26981",
        "cmplw r11,r12",
        "bne 0x3f1c",
        "nop",
        "mflr r4",
        "lis r12,32175",
        "ori r12,r12,1224",
        "mtctr r12",
        "bctr",
    ]
    assert page.stop_address == 0x3F18


def test_an_entry_out_of_reach_is_refused():
    with pytest.raises(ValueError, match="no branch reaches"):
        rtas_entry_page(0, [1], 0x1000_0000)


def test_a_disassembler_reads_what_was_meant_for_opal(tmp_path):
    page = opal_entry_page(0x32C3_0000, [174, 116], 0x1234_5678_9ABC_DEF0)
    instructions = disassembled(tmp_path, page)
    go_on = page.address + 16
    assert instructions == [
        "cmpldi r0,116",
        f"beq {page.stop_address:#x}",
        "cmpldi r0,174",
        f"beq {page.stop_address:#x}",
        "lis r12,4660",
        "ori r12,r12,22136",
        "sldi r12,r12,32",
        "oris r12,r12,39612",
        "ori r12,r12,57072",
        "mtctr r12",
        "bctr",
        "nop",
        f"b {go_on:#x}",
    ]
    assert page.stop_address == page.address + 11 * 4
    assert page.pass_address == page.stop_address + 4
