"""What readelf reads of headers that are written; more of them than 16 bits can count are in a section header."""

import re
import subprocess

import pytest

from fadump.abi import elf


@pytest.mark.parametrize("byte_order", ["little", "big"])
@pytest.mark.parametrize("headers", [0, 1, 0xFFFE, 0xFFFF, 70_000])
def test_readelf_finds_as_many_program_headers_as_there_are(tmp_path, byte_order, headers):
    section = elf.encode_section_header_0(byte_order, headers)
    program = elf.PROGRAM_HEADER.in_order(byte_order).encode(elf.ProgramHeader(elf.PT_NULL)) * headers
    path = tmp_path / "core"
    path.write_bytes(elf.encode_core_header(byte_order, 21, 2, headers) + program + section)
    command = ["readelf", "--file-header", "--wide", path]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    number = re.search(r"Number of program headers: +(.*)", shown)[1]
    assert str(headers) in number
    assert "CORE" in shown and "PowerPC64" in shown and f"{byte_order} endian" in shown


@pytest.mark.parametrize("byte_order", ["little", "big"])
def test_the_section_header_has_nothing_but_that_number(byte_order):
    assert elf.encode_section_header_0(byte_order, 0xFFFE) == b""
    found = elf.encode_section_header_0(byte_order, 0x1_2345)
    assert found == bytes(0x2C) + (0x1_2345).to_bytes(4, byte_order) + bytes(16)
