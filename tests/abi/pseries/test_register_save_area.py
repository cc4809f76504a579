"""What Linux does with an area is the specification that counts, so one test reads as Linux reads."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fadump.abi.pseries.register_save_area import area_bytes, decode, encode
from fadump.abi.registers import CpuRegisters
from fadump.errors import FormatError

names = st.from_regex(r"[A-Z][A-Z0-9]{0,6}", fullmatch=True).filter(lambda n: n not in ("CPUSTRT", "CPUEND"))
cpus = st.lists(
    st.builds(
        CpuRegisters,
        cpu_id=st.integers(0, 2**32 - 1),
        values=st.dictionaries(names, st.integers(0, 2**64 - 1), max_size=8),
    ),
    max_size=6,
)


@given(cpus)
def test_what_is_written_is_read_back(written):
    assert decode(encode(written, size_bytes=area_bytes(6, 8))) == written


@given(cpus, st.data())
def test_an_area_cut_anywhere_is_refused_or_whole(written, data):
    area = encode(written, size_bytes=area_bytes(6, 8))
    cut = data.draw(st.integers(0, len(area)))
    try:
        assert decode(area[:cut]) == written
    except FormatError as error:
        refused_at = error.offset
    else:
        return
    assert 0 <= refused_at <= len(area)


def test_linux_finds_the_cpu_count_through_the_header():
    area = encode([CpuRegisters(3, {"NIA": 0xC000_0000_0000_1000})], size_bytes=0x1000)
    count_at = int.from_bytes(area[12:16], "big")
    assert int.from_bytes(area[count_at : count_at + 4], "big") == 1
    assert area[count_at + 4 : count_at + 12] == b"CPUSTRT\0"


def test_cpus_that_do_not_fit_are_an_error_not_a_short_area():
    with pytest.raises(ValueError, match="2 CPUs need"):
        encode([CpuRegisters(0, {}), CpuRegisters(1, {})], size_bytes=0x40)


def test_what_has_no_magic_is_shown_beside_what_it_should_be():
    area = bytearray(encode([], size_bytes=area_bytes(1, 1)))
    area[:8] = b"NOTHING\0"
    with pytest.raises(FormatError) as raised:
        decode(bytes(area))
    assert (raised.value.offset, raised.value.found) == (0, b"NOTHING\0")
    assert raised.value.expected == b"REGSAVE\0"


def test_an_area_of_as_many_cpus_as_linux_can_have_is_read():
    """NR_CPUS is 8192 at most, and each CPU has what PAPR names and QEMU can show."""
    one = b"".join(f"R{number:03}".encode().ljust(8, b"\0") + bytes(8) for number in range(329))
    entries = b"".join(
        b"CPUSTRT\0" + cpu.to_bytes(8, "big") + one + b"CPUEND\0\0" + cpu.to_bytes(8, "big") for cpu in range(8192)
    )
    area = encode([], size_bytes=32)[:28] + (8192).to_bytes(4, "big") + entries
    assert len(area) == area_bytes(8192, 329) == 0x2960020
    cpus = decode(area)
    assert (len(cpus), cpus[-1].cpu_id, len(cpus[-1].values)) == (8192, 8191, 329)
