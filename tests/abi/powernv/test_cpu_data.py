"""What Linux does with CPU data is the specification that counts, so the first tests read as Linux reads."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fadump.abi.powernv.cpu_data import THREAD_BYTES, decode, encode
from fadump.abi.powernv.register_numbers import NUMBERS
from fadump.abi.registers import CpuRegisters
from fadump.errors import FormatError

PIRS = (0, 1, 4, 5)

values = st.dictionaries(st.sampled_from(sorted(NUMBERS)), st.integers(0, 2**64 - 1))
cpus = st.lists(
    st.builds(CpuRegisters, st.sampled_from(PIRS), values), max_size=len(PIRS), unique_by=lambda cpu: cpu.cpu_id
)


def header(pir=0, state=0, offset=0x10, count=1, entry_bytes=0x10, used=0x10):
    # hdat_fadump_thread_hdr: __be32 pir; u8 core_state; u8 reserved[3]; __be32 offset, ecnt, esize, eactsz
    return struct.pack(">IB3xIIII", pir, state, offset, count, entry_bytes, used)


def entry(type_, number, value):
    return struct.pack(">IIQ", type_, number, value)


def test_the_header_is_linuxs_and_the_offset_counts_from_itself():
    data = encode([CpuRegisters(0x24, {"NIA": 0xC000_0000_0000_1234})], [0x24])
    pir, state, offset, count, entry_bytes, used = struct.unpack_from(">IB3xIIII", data)
    assert (pir, state, entry_bytes, used) == (0x24, 0, 16, 16)
    assert len(data) == THREAD_BYTES == 24 + count * 16
    first = 8 + offset  # offsetof(struct hdat_fadump_thread_hdr, offset) + thdr->offset
    assert first == 24
    assert struct.unpack_from(">IIQ", data, first) == (2, 0x7D0, 0xC000_0000_0000_1234)


def test_registers_have_their_type_number_and_value():
    data = encode([CpuRegisters(0, {"GPR31": 0x31, "LR": 8, "CR": 0x2400_0000})], [0])
    entries = [struct.unpack_from(">IIQ", data, 24 + 16 * index) for index in range(3)]
    assert entries == [(1, 31, 0x31), (2, 8, 8), (2, 0x7D2, 0x2400_0000)]


def test_a_register_that_could_not_be_read_is_nothing_that_linux_knows():
    """opal_fadump_set_regval_regnum() ignores an entry of type 0 and number 0."""
    data = encode([CpuRegisters(0, {"LR": 8})], [0])
    assert not data[24 + 16 :].strip(b"\0")


def test_threads_that_were_not_online_are_inactive_and_have_the_same_layout():
    data = encode([CpuRegisters(4, {"GPR01": 1})], PIRS)
    assert len(data) == 4 * THREAD_BYTES
    headers = [struct.unpack_from(">IB3xIIII", data, index * THREAD_BYTES) for index in range(4)]
    assert [(pir, state) for pir, state, *_ in headers] == [(0, 0x0F), (1, 0x0F), (4, 0), (5, 0x0F)]
    assert len({tuple(layout) for _pir, _state, *layout in headers}) == 1


def test_every_register_that_has_a_number_finds_room_and_others_are_left_out():
    everything = {**dict.fromkeys(NUMBERS, 7), "FPR00": 1, "VSR00_HI": 1}
    assert decode(encode([CpuRegisters(1, everything)], PIRS), THREAD_BYTES) == [
        CpuRegisters(1, dict.fromkeys(NUMBERS, 7))
    ]


@given(cpus)
def test_what_is_written_is_read_back_in_the_order_of_threads(written):
    assert decode(encode(written, PIRS), THREAD_BYTES) == sorted(written, key=lambda cpu: cpu.cpu_id)


def test_another_firmwares_layout_is_followed():
    """Entries further on and further apart, registers that PAPR has no name for."""
    thread = header(pir=7, offset=0x20, count=2, entry_bytes=0x18)
    thread += bytes(16) + entry(2, 0x13F, 0x99) + bytes(8) + entry(1, 3, 0x33) + bytes(8)
    assert decode(thread, len(thread)) == [CpuRegisters(7, {"SPR319": 0x99, "GPR03": 0x33})]


def test_the_first_threads_layout_is_everybodys():
    first = header(pir=0, count=2) + entry(1, 0, 10) + entry(1, 1, 11)
    second = header(pir=1, count=0, offset=0x1000) + entry(1, 0, 20) + entry(1, 1, 21)
    read = decode(first + second, len(first))
    assert read == [CpuRegisters(0, {"GPR00": 10, "GPR01": 11}), CpuRegisters(1, {"GPR00": 20, "GPR01": 21})]


def test_an_inactive_first_thread_gives_the_layout_too():
    first = header(pir=0, state=0x0F) + bytes(16)
    second = header(pir=1, count=9) + entry(1, 5, 0x55)
    assert decode(first + second, len(first)) == [CpuRegisters(1, {"GPR05": 0x55})]


def test_what_is_behind_the_last_whole_thread_is_not_looked_at():
    data = encode([CpuRegisters(0, {"LR": 8})], [0])
    assert decode(data + b"\xff" * (THREAD_BYTES - 1), THREAD_BYTES) == [CpuRegisters(0, {"LR": 8})]


@pytest.mark.parametrize("thread_bytes", [-1, 0, 1, 23, THREAD_BYTES + 1, 1 << 32])
def test_a_size_that_no_thread_has_is_refused(thread_bytes):
    with pytest.raises(FormatError, match="without a thread"):
        decode(encode([], [0]), thread_bytes)


@pytest.mark.parametrize(
    "broken",
    [
        header(count=2),
        header(count=0xFFFF_FFFF),
        header(count=0xFFFF_FFFF, entry_bytes=0),
        header(entry_bytes=15),
        header(offset=0x11),
        header(offset=0xFFFF_FFFF),
    ],
    ids=["one too many", "far too many", "of no size", "too small", "off by one", "far away"],
)
def test_entries_that_leave_their_thread_are_refused(broken):
    with pytest.raises(FormatError, match="leave their thread"):
        decode(broken + entry(1, 1, 1), 40)


@given(st.binary(min_size=24, max_size=200), st.integers(0, 100))
def test_any_bytes_are_cpu_data_or_refused(data, thread_bytes):
    try:
        read = decode(data, thread_bytes)
    except FormatError:
        return
    assert len(read) <= len(data) // thread_bytes


@pytest.mark.parametrize(
    ("crashed", "pirs"),
    [
        ([CpuRegisters(8, {})], PIRS),
        ([CpuRegisters(0, {}), CpuRegisters(0, {})], PIRS),
        ([CpuRegisters(0, {"LR": 1 << 64})], PIRS),
        ([], (1 << 32,)),
    ],
    ids=["unknown", "twice", "value too large", "PIR too large"],
)
def test_what_cpu_data_cannot_hold_is_not_encoded(crashed, pirs):
    with pytest.raises(ValueError, match="CPU"):
        encode(crashed, pirs)
