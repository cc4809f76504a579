import pytest

from fadump.kernel.traits import PAGE_BYTES, align_down, align_up, size_text


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0x0 bytes"),
        (1, "0x1 bytes"),
        (1 << 10, "1 KiB"),
        (1536, "0x600 bytes"),
        (3 << 20, "3 MiB"),
        ((1 << 20) + (1 << 10), "1025 KiB"),
        (5 << 30, "5 GiB"),
        (64 << 40, "64 TiB"),
        ((1 << 26) + (1 << 10), "0x4000400 bytes"),
        ((1 << 26) - (1 << 10), "65535 KiB"),
    ],
)
def test_a_size_is_written_in_its_largest_whole_unit(size_bytes, text):
    assert size_text(size_bytes) == text


@pytest.mark.parametrize(
    ("value", "down", "up"),
    [(0, 0, 0), (1, 0, 16), (15, 0, 16), (16, 16, 16), (17, 16, 32), (2**64 - 1, 2**64 - 16, 0)],
)
def test_alignment_wraps_as_in_64_bits(value, down, up):
    assert (align_down(value, 16), align_up(value, 16)) == (down, up)


def test_pages_are_of_the_sizes_that_linux_can_be_built_with():
    assert PAGE_BYTES == {"4K": 4096, "64K": 65536}
