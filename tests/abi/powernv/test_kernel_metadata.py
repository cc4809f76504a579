"""struct opal_fadump_mem_struct, byte for byte as Linux's opal-fadump.h has it."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fadump.abi.powernv.kernel_metadata import SIZE_BYTES, KernelMetadata
from fadump.abi.powernv.mpipl import MpiplRegion
from fadump.errors import FormatError, LimitError


def unsigned(bits):
    return st.integers(0, 2**bits - 1)


structures = st.builds(
    KernelMetadata,
    version=unsigned(8),
    registered_regions=unsigned(16),
    crash_info=unsigned(64),
    regions=st.lists(st.builds(MpiplRegion, unsigned(64), unsigned(64), unsigned(64)), max_size=5).map(tuple),
)


def linux_bytes():
    """What Linux 6.12 leaves with crashkernel=1G: one region of 1 GiB, the header right behind its copy."""
    blob = struct.pack(">B", 1) + bytes(3)
    blob += struct.pack(">H", 1) + struct.pack(">H", 1)
    blob += struct.pack(">Q", 0x8000_0000)
    blob += struct.pack(">QQQ", 0, 0x4000_0000, 0x4000_0000)
    return blob + bytes(127 * 24)


LINUX = KernelMetadata(
    registered_regions=1, crash_info=0x8000_0000, regions=(MpiplRegion(0, 0x4000_0000, 0x4000_0000),)
)


def test_what_linux_leaves_is_decoded_and_encoded_as_it_was():
    assert SIZE_BYTES == 16 + 128 * 24 == len(linux_bytes())
    assert KernelMetadata.decode(linux_bytes()) == LINUX
    assert LINUX.encode() == linux_bytes()


@given(structures)
def test_what_is_encoded_is_decoded_as_it_was(written):
    blob = written.encode()
    assert len(blob) == SIZE_BYTES
    assert KernelMetadata.decode(blob + b"behind it") == written


def test_a_full_table_fits_and_one_more_does_not():
    region = MpiplRegion(1, 2, 3)
    assert len(KernelMetadata.decode(KernelMetadata(regions=(region,) * 128).encode()).regions) == 128
    with pytest.raises(ValueError, match="at most 128"):
        KernelMetadata(regions=(region,) * 129).encode()


@pytest.mark.parametrize("size_bytes", [0, 1, 15, 16, SIZE_BYTES - 1])
def test_a_structure_cut_short_is_refused(size_bytes):
    with pytest.raises(FormatError, match="cut short"):
        KernelMetadata.decode(linux_bytes()[:size_bytes])


def test_a_count_that_can_not_be_is_refused_at_its_offset():
    blob = bytearray(linux_bytes())
    blob[4:6] = (129).to_bytes(2, "big")
    with pytest.raises(LimitError, match="129 regions in kernel metadata") as refused:
        KernelMetadata.decode(bytes(blob))
    assert refused.value.offset == 4


def test_a_number_that_does_not_fit_is_not_encoded():
    with pytest.raises(ValueError, match="too large"):
        KernelMetadata(crash_info=1 << 64).encode()
