"""The tables of skiboot's include/opal-dump.h and the places of include/mem-map.h, byte for byte."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fadump.abi.powernv import hdat
from fadump.abi.powernv.hdat import ProcDumpArea, RegionId, ResultRange, TableRange
from fadump.errors import FormatError

addresses = st.integers(0, 2**63 - 1)
u32 = st.integers(0, 2**32 - 1)
u8 = st.integers(0, 255)


def test_sizes_and_places_are_skiboots():
    assert (hdat.SKIBOOT_BASE, hdat.SKIBOOT_BYTES, hdat.STACK_BYTES) == (0x3000_0000, 0x01C1_0000, 32 << 10)
    assert (hdat.KERNEL_LOAD_BASE, hdat.INITRAMFS_LOAD_BASE) == (0x2000_0000, 0x2800_0000)
    assert (hdat.RANGE_BYTES, hdat.RESULT_BYTES, hdat.PROC_DUMP_AREA_BYTES) == (16, 32, 0x30)
    assert hdat.MAX_RANGES == 64
    assert (RegionId.OPAL_MEMORY, RegionId.KERNEL) == (0x03, 0x80)


def test_an_entry_of_mdst_or_mddt():
    # __be64 addr; u8 data_region; u8 dump_type; __be16 reserved; __be32 size
    blob = TableRange(0x4000_0000, RegionId.KERNEL, 0x1000_0000).encode()
    assert blob == struct.pack(">QBBHI", 0x8000_0000_4000_0000, 0x80, 0, 0, 0x1000_0000)


def test_an_entry_of_mdrt():
    # __be64 src_addr, dest_addr; u8 data_region; u8 dump_type; __be16 reserved; __be32 size; __be64 padding
    blob = ResultRange(0x1000, 0x4000_0000, RegionId.OPAL_MEMORY, 0x1C5_0000).encode()
    assert blob == struct.pack(">QQBBHIQ", 1 << 63 | 0x1000, 1 << 63 | 0x4000_0000, 3, 0, 0, 0x1C5_0000, 0)


def test_the_processor_dump_area():
    area = ProcDumpArea(0x658, 1, 0x5000_0000, 0x8_0000, 0x5000_1000, 0x1960)
    blob = area.encode()
    assert struct.unpack_from(">IB", blob) == (0x658, 1)
    assert struct.unpack_from(">Q4xI", blob, 0x10) == (1 << 63 | 0x5000_0000, 0x8_0000)
    assert struct.unpack_from(">Q4xI", blob, 0x20) == (1 << 63 | 0x5000_1000, 0x1960)
    assert ProcDumpArea.decode(blob) == area


def test_an_address_that_is_not_there_yet_stays_0():
    """skiboot looks whether dest_addr is 0 to tell whether there is CPU data."""
    assert not ProcDumpArea(0, 1, 0x5000_0000, 0x8_0000, 0, 0).encode()[0x20:0x28].strip(b"\0")


@given(addresses, addresses, u8, u32, u8)
def test_entries_are_decoded_as_they_were(source, destination, region, size_bytes, type_):
    entry = TableRange(source, region, size_bytes, type_)
    assert TableRange.decode(entry.encode()) == entry
    result = ResultRange(source, destination, region, size_bytes, type_)
    assert ResultRange.decode(result.encode()) == result


@pytest.mark.parametrize("kind", [TableRange, ResultRange, ProcDumpArea])
def test_what_is_cut_short_is_refused(kind):
    with pytest.raises(FormatError, match="cut short"):
        kind.decode(bytes(15))


@pytest.mark.parametrize(
    "entry",
    [TableRange(0, 256, 0), TableRange(1 << 64, 0, 0), ResultRange(0, 0, 0, 1 << 32), ProcDumpArea(0, 256, 0, 0, 0, 0)],
)
def test_what_does_not_fit_is_not_encoded(entry):
    with pytest.raises(ValueError, match="don't fit"):
        entry.encode()
