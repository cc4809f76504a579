"""Numbers written to the kernel's files: real Linux takes and refuses the same (tests/real_linux/test_files.py)."""

import pytest

from fadump.kernel.kstrtox import kstrtoint


@pytest.mark.parametrize(("data", "number"), [
    (b"1", 1), (b"0\n", 0), (b"+1\n", 1), (b"-0", 0), (b"-1", -1), (b"0x1F", 31), (b"017", 15), (b"00", 0),
    (b"1\x002", 1), (b"2147483647", (1 << 31) - 1), (b"-2147483648", -(1 << 31)),
])  # fmt: skip
def test_a_number(data, number):
    assert kstrtoint(data) == number


@pytest.mark.parametrize("data", [
    b"", b"\n", b" 1", b"1 ", b"1\n\n", b"x", b"0x", b"08", b"1_0", b"+-1", b"--1", b"2147483648", b"-2147483649",
    "\u0661".encode(), b"9" * 5000,
])  # fmt: skip
def test_no_number(data):
    assert kstrtoint(data) is None
