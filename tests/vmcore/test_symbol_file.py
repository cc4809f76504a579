"""The file with OPAL's symbols, as other programs read it."""

import re
import subprocess

import pytest

from fadump.abi.powernv.symbol_map import OpalSymbol
from fadump.vmcore.symbol_file import encode_symbol_file

BASE = 0x3000_0000
SYMBOLS = [
    OpalSymbol("__head", 0, "T"),
    OpalSymbol(".abort", 0x100, "T"),
    OpalSymbol("table", 0x180, "D"),
    OpalSymbol(".end", 0x200, "t"),
    OpalSymbol("version", 0x1000, "R"),
    OpalSymbol("_end", 0x2000, "B"),
]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "opal.elf"
    path.write_bytes(encode_symbol_file(SYMBOLS, BASE, b""))
    return path


def test_readelf_has_nothing_to_complain_of(file):
    done = subprocess.run(["readelf", "-hSsW", file], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert "PowerPC64" in done.stdout and "big endian" in done.stdout and "EXEC" in done.stdout
    sections = re.findall(r"\] (\.\w+) +(\w+) +([0-9a-f]{16}) [0-9a-f]+ ([0-9a-f]+)", done.stdout)
    assert [(name, type_, int(address, 16), int(size, 16)) for name, type_, address, size in sections[:2]] == [
        (".text", "NOBITS", BASE, 0x1000),
        (".data", "NOBITS", BASE + 0x1000, 0x1000),
    ]
    symbols = re.findall(r": ([0-9a-f]{16}) +(\d+) (FUNC|OBJECT) +LOCAL +DEFAULT +(\d) (\S+)", done.stdout)
    assert [(name, int(value, 16), int(size), kind, section) for value, size, kind, section, name in symbols] == [
        ("__head", BASE, 0x100, "FUNC", "1"),
        (".abort", BASE + 0x100, 0x80, "FUNC", "1"),
        ("table", BASE + 0x180, 0x80, "OBJECT", "1"),
        (".end", BASE + 0x200, 0xE00, "FUNC", "1"),
        ("version", BASE + 0x1000, 0x1000, "OBJECT", "2"),
        ("_end", BASE + 0x2000, 0, "OBJECT", "2"),
    ]


def test_gdb_names_an_address_by_it(file):
    done = subprocess.run(
        ["gdb-multiarch", "--batch", "-nx", file, "-ex", f"output/a {BASE + 0x104:#x}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "<.abort+4>" in done.stdout or "<abort+4>" in done.stdout, done.stdout + done.stderr


def test_without_symbols_there_is_no_file():
    with pytest.raises(ValueError, match="no symbols"):
        encode_symbol_file([], BASE, b"")
