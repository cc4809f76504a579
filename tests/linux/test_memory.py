import pytest

from fadump.abi.linux.page_table import PRESENT
from fadump.errors import AddressError, FormatError
from fadump.linux.memory import MOST_BYTES
from fadump.linux.translate import TranslationError
from fadump.memory.ranges import Range
from tests.linux.kernel_builder import PAGE_OFFSET, VMALLOC_START, FakeKernel, PageTables


@pytest.mark.parametrize("byte_order", ["little", "big"])
def test_numbers_have_the_kernels_byte_order(byte_order):
    kernel = FakeKernel(byte_order)
    at = kernel.place((0x0102_0304_0506_0708).to_bytes(8, byte_order))
    memory = kernel.read()
    assert memory.word(at) == 0x0102_0304_0506_0708
    assert memory.number(at) == (0x0506_0708 if byte_order == "little" else 0x0102_0304)


def test_what_lies_across_pages_is_put_together():
    kernel = FakeKernel(page_bytes=0x1000)
    tables = PageTables(kernel)
    one, two = (kernel.place(letter * 0x1000, align=0x1000) - PAGE_OFFSET for letter in (b"a", b"b"))
    tables.map(VMALLOC_START, two)
    tables.map(VMALLOC_START + 0x1000, one)
    memory = kernel.read()
    assert memory.read(VMALLOC_START + 0xFFE, 4) == b"bbaa"
    assert memory.view(VMALLOC_START + 0xFFE, 4).tobytes() == b"bbaa"
    with pytest.raises(TranslationError):
        memory.read(VMALLOC_START + 0x1FFF, 2)


def test_a_string_ends_at_its_zero_or_its_limit_and_needs_no_memory_behind_it():
    kernel = FakeKernel(memory_bytes=0x1000)
    long = kernel.place(b"x" * 100 + b"\0")
    last = PAGE_OFFSET + 0x1000 - 4
    kernel.poke(last, b"end\0")
    memory = kernel.read()
    assert memory.string(long, 1000) == b"x" * 100
    assert memory.string(long, 10) == b"x" * 10
    assert memory.string(last, 1000) == b"end"


@pytest.mark.parametrize("address", [-7, -(1 << 70), (1 << 64) - 4, 1 << 64])
def test_an_address_that_is_none_is_an_error(address):
    memory = FakeKernel().read()
    for read in (memory.read, memory.view):
        with pytest.raises(TranslationError, match="virtual address 0x"):
            read(address, 8)


def test_memory_that_the_dump_lacks_is_an_error():
    kernel = FakeKernel(memory_bytes=0x1000)
    with pytest.raises(AddressError):
        kernel.read().read(PAGE_OFFSET + 0xFFF, 2)


@pytest.mark.parametrize("length", [-1, MOST_BYTES + 1, 1 << 63])
def test_a_length_that_nothing_has_is_refused(length):
    sentence = (
        "a length of -1 bytes" if length < 0 else f"^{length:,} bytes to read at virtual address {PAGE_OFFSET:#x},"
    )
    with pytest.raises(FormatError, match=sentence):
        FakeKernel().read().read(PAGE_OFFSET, length)


def test_views_step_by_step_say_which_steps_cannot_be_read():
    kernel = FakeKernel(page_bytes=0x1000)
    tables = PageTables(kernel)
    one, two = (kernel.place(letter * 0x1000, align=0x1000) - PAGE_OFFSET for letter in (b"a", b"b"))
    for at, physical in ((0, one), (0x1000, two), (0x3000, one), (0x4000, 1 << 40)):
        tables.map(VMALLOC_START + at, physical)
    views = kernel.read().views(Range(VMALLOC_START + 0x800, VMALLOC_START + 0x4804), 0x1000)
    found = [None if view is None else view.tobytes() for view in views]
    assert found == [b"a" * 0x800 + b"b" * 0x800, None, None, None, None]
    views = kernel.read().views(Range(VMALLOC_START, VMALLOC_START + 0x4004), 0x1000)
    found = [None if view is None else view.tobytes() for view in views]
    assert found == [b"a" * 0x1000, b"b" * 0x1000, None, b"a" * 0x1000, None]


def test_views_find_what_can_be_read_where_some_page_tables_are_missing():
    kernel = FakeKernel(page_bytes=0x1000)
    tables = PageTables(kernel)
    tables.map(VMALLOC_START, kernel.place(b"a" * 0x1000, align=0x1000) - PAGE_OFFSET)
    far = VMALLOC_START + tables.page_bytes(2)
    tables.map(far, 1 << 40, level=2, flags=PRESENT)
    views = list(kernel.read().views(Range(VMALLOC_START, far + 0x1000), 0x1000))
    assert views[0].tobytes() == b"a" * 0x1000
    assert not any(view is not None for view in views[1:])
