"""struct opal_mpipl_fadump, byte for byte as Linux's opal-api.h has it."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fadump.abi.powernv.mpipl import MpiplMetadata, MpiplOperation, MpiplRegion, MpiplTag
from fadump.errors import FormatError


def unsigned(bits):
    return st.integers(0, 2**bits - 1)


regions = st.builds(MpiplRegion, unsigned(64), unsigned(64), unsigned(64))
metadata = st.builds(
    MpiplMetadata,
    version=unsigned(8),
    crashing_pir=unsigned(32),
    cpu_data_version=unsigned(32),
    cpu_data_bytes=unsigned(32),
    regions=st.lists(regions, max_size=4).map(tuple),
)

TWO_REGIONS = MpiplMetadata(
    crashing_pir=0x24,
    cpu_data_version=1,
    cpu_data_bytes=0x658,
    regions=(MpiplRegion(0x3000_0000, 0x7000_0000, 0x1C5_0000), MpiplRegion(1, 2, 3)),
)


def test_operations_and_tags_are_those_of_opal_api_h():
    assert [operation.name for operation in MpiplOperation] == [
        "ADD_RANGE",
        "REMOVE_RANGE",
        "REMOVE_ALL",
        "FREE_PRESERVED_MEMORY",
    ]
    assert list(MpiplOperation) == [0, 1, 2, 3]
    assert [tag.name for tag in MpiplTag] == ["CPU", "OPAL", "KERNEL", "BOOT_MEM"]
    assert list(MpiplTag) == [0, 1, 2, 3]


def test_the_fields_stand_where_linux_reads_them():
    blob = TWO_REGIONS.encode()
    # u8 version; u8 reserved[7]; __be32 crashing_pir, cpu_data_version, cpu_data_size, region_cnt; region[]
    assert blob[:8] == b"\1\0\0\0\0\0\0\0"
    assert struct.unpack_from(">IIII", blob, 8) == (0x24, 1, 0x658, 2)
    assert struct.unpack_from(">QQQ", blob, 0x18) == (0x3000_0000, 0x7000_0000, 0x1C5_0000)
    assert struct.unpack_from(">QQQ", blob, 0x30) == (1, 2, 3)
    assert len(blob) == 0x48


@given(metadata)
def test_what_is_encoded_is_decoded_as_it_was(written):
    blob = written.encode()
    assert MpiplMetadata.decode(blob) == written
    assert MpiplMetadata.decode(memoryview(blob + b"behind it")) == written


@given(metadata, st.data())
def test_metadata_cut_anywhere_is_refused(written, data):
    blob = written.encode()
    with pytest.raises(FormatError, match="cut short"):
        MpiplMetadata.decode(blob[: data.draw(st.integers(0, len(blob) - 1))])


@given(st.binary(max_size=200))
def test_any_bytes_are_metadata_or_refused(blob):
    try:
        read = MpiplMetadata.decode(blob)
    except FormatError:
        return
    assert MpiplMetadata.decode(read.encode()) == read


def test_more_regions_than_there_can_be_are_refused_at_once():
    with pytest.raises(FormatError, match="regions cut short") as refused:
        MpiplMetadata.decode(bytes(0x14) + b"\xff\xff\xff\xff" + bytes(100))
    assert refused.value.offset == 0x18


@pytest.mark.parametrize(
    "change",
    [{"version": 256}, {"crashing_pir": -1}, {"cpu_data_bytes": 1 << 32}, {"regions": (MpiplRegion(1 << 64, 0, 0),)}],
)
def test_what_the_fields_cannot_hold_is_not_encoded(change):
    with pytest.raises(ValueError, match="too large"):
        MpiplMetadata(**change).encode()
