import struct

import pytest

from fadump.abi.linux.crash_info import HEADER_BYTES, area_bytes, decode
from fadump.abi.linux.pt_regs import REGISTER_NAMES
from fadump.errors import FormatError

WORDS = list(range(100, 100 + len(REGISTER_NAMES)))


def new_header(order="<", cpu=3):
    words = struct.pack(f"{order}{len(WORDS)}Q", *WORDS)
    magic = int.from_bytes(b"FADMPSIG", "big")
    return struct.pack(order + "QIIQQII", magic, 1, cpu, 0x1000, 0xDB4, 384, 8) + words + bytes(HEADER_BYTES)


def old_header(cpu=3):
    words = struct.pack(f"<{len(WORDS)}Q", *WORDS)
    return struct.pack("<QQIxxxx", int.from_bytes(b"FADMPINF", "big"), 0x5000, cpu) + words + bytes(HEADER_BYTES)


@pytest.mark.parametrize("header", [new_header("<"), new_header(">"), old_header()])
def test_every_kernels_header_is_read(header):
    info = decode(header)
    assert info.crashing_cpu == 3
    assert list(info.registers.values()) == WORDS
    assert info.registers["nip"] == WORDS[32]


@pytest.mark.parametrize("header", [new_header(), old_header()])
def test_a_header_cut_short_is_refused(header):
    for size_bytes in range(0x18 + 8 * len(WORDS)):
        with pytest.raises(FormatError):
            decode(header[:size_bytes])


def test_memory_without_a_header_is_refused():
    with pytest.raises(FormatError, match="no crash-info header"):
        decode(bytes(HEADER_BYTES))


@pytest.mark.parametrize("header", [new_header(cpu=0xFFFFFFFF), old_header(cpu=0xFFFFFFFF)])
def test_a_kernel_that_had_no_part_in_its_end_names_no_cpu(header):
    assert decode(header).crashing_cpu is None


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_header_says_how_much_its_kernel_keeps_for_itself(order):
    assert area_bytes(new_header(order)) == 432  # Linux: sizeof(struct fadump_crash_info_header), NR_CPUS up to 64
    assert area_bytes(old_header()) is None
    with pytest.raises(FormatError):
        area_bytes(bytes(HEADER_BYTES))
