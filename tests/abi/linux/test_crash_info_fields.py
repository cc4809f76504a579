"""All fields of the crash-info header."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fadump.abi.linux import crash_info
from fadump.abi.linux.crash_info import CrashHeader, OldCrashHeader, header_bytes
from fadump.abi.linux.pt_regs import REGISTER_NAMES
from fadump.errors import FormatError
from fadump.kernel.traits import LINUX_6_12

u32, u64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
registers = st.fixed_dictionaries(dict.fromkeys(REGISTER_NAMES, u64))


@given(u64, u32, u32, u64, u64, u32, registers, st.integers(0, 2**128 - 1))
def test_what_is_written_is_read(magic, version, cpu, address, size_bytes, regs_bytes, values, mask):
    header = CrashHeader(magic, version, cpu, address, size_bytes, regs_bytes, 16, values, mask)
    assert CrashHeader.decode(header.encode(), 16) == header
    assert len(header.encode()) == header.size_bytes == header_bytes(16)


def test_it_is_the_header_that_the_verifier_reads():
    header = CrashHeader(crashing_cpu=3, registers={"gpr1": 7, "nip": 8})
    info = crash_info.decode(header.encode())
    assert (info.crashing_cpu, info.registers["gpr1"], info.registers["nip"]) == (3, 7, 8)
    assert header.size_bytes == LINUX_6_12.header_bytes


def test_both_headers_are_the_bytes_that_linux_has():
    registers = {"gpr0": 0x1122, "result": 0x33}
    words = bytes.fromhex("2211000000000000") + bytes(8 * 42) + bytes.fromhex("3300000000000000") + bytes(32)
    new = CrashHeader(
        crashing_cpu=3, vmcoreinfo_address=0x1000, vmcoreinfo_bytes=0xDB4, registers=registers, cpu_mask=9
    )
    assert new.encode() == b"".join(
        (
            b"FADMPSIG"[::-1],
            bytes.fromhex("01000000 03000000 0010000000000000 b40d000000000000 80010000 08000000"),
            words,
            bytes.fromhex("0900000000000000"),
        )
    )
    old = OldCrashHeader(elfcorehdr_address=0x5000, crashing_cpu=3, registers=registers, cpu_mask=9)
    assert old.encode() == b"".join(
        (
            b"FADMPINF"[::-1],
            bytes.fromhex("0050000000000000 03000000 00000000"),
            words,
            bytes.fromhex("0900000000000000"),
        )
    )
    assert OldCrashHeader.decode(old.encode(), 8) == OldCrashHeader.decode(old.encode() + b"more", 8)
    assert OldCrashHeader.decode(old.encode(), 8).registers["result"] == 0x33


@given(st.binary(max_size=431))
def test_a_short_one_is_refused(data):
    with pytest.raises(FormatError, match="crash-info header cut short"):
        CrashHeader.decode(data, 8)


@pytest.mark.parametrize("fields", [{"crashing_cpu": -1}, {"cpu_mask": 1 << 64}, {"registers": {"gpr0": 1 << 64}}])
def test_numbers_that_do_not_fit_are_refused(fields):
    with pytest.raises(ValueError, match="too large for its field"):
        CrashHeader(**fields).encode()
