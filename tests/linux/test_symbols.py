import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fadump.abi.elf import SYMBOL
from fadump.errors import FadumpError, FormatError, LimitError
from fadump.linux.symbols.kallsyms import find_kallsyms, read_kallsyms
from fadump.linux.symbols.table import Symbol, SymbolTable, UnknownSymbolError
from fadump.linux.vmcoreinfo import Facts, MissingFactError
from fadump.linux.vmlinux.symbols import OtherKernelError, read_vmlinux
from tests.linux.kernel_builder import PAGE_OFFSET, FakeKernel, add_kallsyms
from tests.linux.old_kallsyms import SYMBOLS as OLD_SYMBOLS
from tests.linux.old_kallsyms import add_old_kallsyms
from tests.vmcore.core_builder import Section, build_sections, note

SYMBOLS = {
    "T_stext": PAGE_OFFSET,
    "tinit_one": PAGE_OFFSET + 0x100,
    "Dinit_task": PAGE_OFFSET + 0x1000,
    "d" + "long_name" * 20: PAGE_OFFSET + 0x2000,
    "B_end": PAGE_OFFSET + 0x3000,
}


@pytest.mark.parametrize("byte_order", ["little", "big"])
@pytest.mark.parametrize("kind", ["relative", "absolute", "place"])
def test_kallsyms_of_each_kind(byte_order, kind):
    kernel = FakeKernel(byte_order)
    add_kallsyms(kernel, SYMBOLS, kind)
    table = read_kallsyms(kernel.read())
    assert {symbol.kind + symbol.name: symbol.address for symbol in table} == SYMBOLS


def test_kallsyms_at_the_end_of_memory():
    kernel = FakeKernel()
    kernel.next = len(kernel.memory) - 0x1000
    add_kallsyms(kernel, SYMBOLS)
    assert len(read_kallsyms(kernel.read())) == len(SYMBOLS)


@pytest.mark.parametrize("byte_order", ["little", "big"])
@pytest.mark.parametrize("kind", ["relative", "absolute", "place"])
def test_symbols_are_found_by_name_without_the_others(byte_order, kind):
    kernel = FakeKernel(byte_order)
    add_kallsyms(kernel, SYMBOLS, kind)
    found = list(find_kallsyms(kernel.read(), {"init_one", "long_name" * 20, "_end", "missing"}))
    assert found == [
        Symbol("init_one", PAGE_OFFSET + 0x100, "t"),
        Symbol("long_name" * 20, PAGE_OFFSET + 0x2000, "d"),
        Symbol("_end", PAGE_OFFSET + 0x3000, "B"),
    ]


def test_a_name_with_the_same_letters_is_another():
    kernel = FakeKernel()
    add_kallsyms(
        kernel, {"Dcrash_notes": PAGE_OFFSET, "Dcrash_noset": PAGE_OFFSET + 8, "dcrash_notes": PAGE_OFFSET + 16}
    )
    found = list(find_kallsyms(kernel.read(), {"crash_notes"}))
    assert found == [Symbol("crash_notes", PAGE_OFFSET, "D"), Symbol("crash_notes", PAGE_OFFSET + 16, "d")]


def test_symbols_are_found_wherever_a_step_of_reading_ends():
    kernel = FakeKernel(memory_bytes=1 << 20)
    wanted = {"T" + "w" * length: PAGE_OFFSET + length for length in range(1, 200)}
    others = {f"T{'o' * 150}{number}": PAGE_OFFSET + 0x1000 + number for number in range(1500)}
    mixed = dict(item for pair in zip(others.items(), [*wanted.items()] * 8, strict=False) for item in pair) | others
    add_kallsyms(kernel, mixed)
    for names in (wanted, others):
        found = find_kallsyms(kernel.read(), {name[1:] for name in names})
        assert {symbol.kind + symbol.name: symbol.address for symbol in found} == names


@pytest.mark.parametrize("byte_order", ["little", "big"])
@pytest.mark.parametrize("relative", [True, False])
@pytest.mark.parametrize("word", ["I", "Q"])
@pytest.mark.parametrize("symbols", [257, 512, 699, 700])
def test_kallsyms_that_nothing_tells_of_are_found(byte_order, relative, word, symbols):
    kernel = FakeKernel(byte_order)
    some = dict([*OLD_SYMBOLS.items()][:symbols])
    add_old_kallsyms(kernel, some, relative=relative, word=word)
    table = read_kallsyms(kernel.read())
    assert {symbol.kind + symbol.name: symbol.address for symbol in table} == some
    (found,) = find_kallsyms(kernel.read(), {"function_7"})
    assert found == Symbol("function_7", PAGE_OFFSET + 16 * 7, "t")


def test_what_looks_like_kallsyms_is_passed_over():
    """The digits alone, as text has them; and whole tables that contradict each other."""
    kernel = FakeKernel()
    kernel.place(b"".join(b"%d\0" % digit for digit in range(20)))
    spoilt = add_old_kallsyms(kernel, {name + "_spoilt": address for name, address in OLD_SYMBOLS.items()})
    kernel.poke(spoilt, kernel.pack("I", 0xFFFF_FFFF))
    add_old_kallsyms(kernel)
    table = read_kallsyms(kernel.read())
    assert {symbol.kind + symbol.name: symbol.address for symbol in table} == OLD_SYMBOLS


@given(st.integers(0, 0x4000), st.binary(min_size=1, max_size=8))
def test_damaged_kallsyms_that_nothing_tells_of_give_symbols_or_an_error(at, damage):
    kernel = FakeKernel(memory_bytes=1 << 17)
    kernel.poke(add_old_kallsyms(kernel) + at, damage)
    with contextlib.suppress(FadumpError):
        read_kallsyms(kernel.read())


def test_a_kernel_that_does_not_say_where_its_symbols_are():
    with pytest.raises(MissingFactError, match="kallsyms_num_syms"):
        read_kallsyms(FakeKernel().read())


def test_a_table_of_tokens_without_an_end_is_refused():
    kernel = FakeKernel(memory_bytes=1 << 20)
    add_kallsyms(kernel, SYMBOLS)
    table, index = (int(kernel.facts[f"SYMBOL(kallsyms_token_{name})"], 16) for name in ("table", "index"))
    kernel.poke(index + 2 * 255, kernel.pack("H", 0x2000))
    kernel.poke(table + 0x2000, b"x" * 0x2_0000)
    with pytest.raises(FormatError, match="no end within 0x10000 bytes"):
        read_kallsyms(kernel.read())


def test_more_symbols_than_any_kernel_has_are_refused():
    kernel = FakeKernel()
    add_kallsyms(kernel, SYMBOLS)
    kernel.poke(int(kernel.facts["SYMBOL(kallsyms_num_syms)"], 16), kernel.pack("I", 4_194_305))
    with pytest.raises(LimitError, match="4,194,305 symbols that the kernel lists, more than the 2,097,152 that"):
        read_kallsyms(kernel.read())


def test_a_name_longer_than_any_is_refused():
    kernel = FakeKernel(memory_bytes=1 << 20)
    name = "D" + "x" * 16_383
    add_kallsyms(kernel, {name: PAGE_OFFSET})
    assert [symbol.name for symbol in read_kallsyms(kernel.read())] == [name[1:]]
    add_kallsyms(kernel, {f"{name}x": PAGE_OFFSET})
    with pytest.raises(LimitError, match="16,385 bytes in the name of symbol 0, more than the 16,384 that are read"):
        read_kallsyms(kernel.read())


@given(st.integers(0, 0x900), st.binary(min_size=1, max_size=8))
def test_damaged_kallsyms_give_symbols_or_an_error(at, damage):
    kernel = FakeKernel()
    add_kallsyms(kernel, SYMBOLS)
    kernel.poke(PAGE_OFFSET + 0x100 + at, damage)
    with contextlib.suppress(FadumpError):
        read_kallsyms(kernel.read())
    with contextlib.suppress(FadumpError):
        find_kallsyms(kernel.read(), {"init_one", "_end"})


def test_an_address_is_a_symbol_and_an_offset():
    table = SymbolTable([Symbol("b", 0x200, "t"), Symbol("a", 0x100, "t"), Symbol("alias", 0x100, "t")])
    assert str(table.symbol(0x1FF)) == "a+0xff/0x100"
    assert table.symbol(0xFF) is None
    assert table.symbol(0x200) is None
    assert table.address("alias") == 0x100
    with pytest.raises(UnknownSymbolError, match="no symbol c"):
        table.address("c")


BUILD_ID = bytes(range(20))
GLOBAL_FUNC, LOCAL_OBJECT, FILE = 0x12, 0x01, 0x04


ROWS = [("_stext", GLOBAL_FUNC, 1, PAGE_OFFSET), ("init_task", LOCAL_OBJECT, 2, PAGE_OFFSET + 0x1000)]
ROWS += [("main.c", FILE, 1, 0), ("undefined", GLOBAL_FUNC, 0, 0)]
ABSOLUTE = ("test_feature", LOCAL_OBJECT, 0xFFF1, (1 << 64) - 1)
"""A number, no address: above all that there is."""


def vmlinux(byte_order="little", build_id=BUILD_ID, rows=ROWS):
    """One whose symbols are ``rows``: name, info, section, address."""
    names, symbols = b"\0", bytes(24)
    for name, info, section, address in rows:
        symbols += SYMBOL.in_order(byte_order).pack(len(names), info, 0, section, address, 8)
        names += name.encode() + b"\0"
    build_id_note = note("GNU", 3, build_id, byte_order)
    sections = [Section(0, b""), Section(2, symbols, link=2), Section(3, names), Section(7, build_id_note)]
    return build_sections(sections, names_section=2, byte_order=byte_order)


@pytest.mark.parametrize("byte_order", ["little", "big"])
def test_the_symbols_of_a_vmlinux(tmp_path, byte_order):
    path = tmp_path / "vmlinux"
    path.write_bytes(vmlinux(byte_order))
    table = read_vmlinux(path, Facts(b"BUILD-ID=" + BUILD_ID.hex().encode()))
    assert list(table) == [Symbol("_stext", PAGE_OFFSET, "T"), Symbol("init_task", PAGE_OFFSET + 0x1000, "d")]


def test_a_number_in_a_vmlinux_is_no_address(tmp_path):
    path = tmp_path / "vmlinux"
    path.write_bytes(vmlinux(rows=[*ROWS, ABSOLUTE]))
    table = read_vmlinux(path, Facts(b""))
    assert "test_feature" not in table and table.symbol(PAGE_OFFSET + (8 << 48)) is None


def test_a_kernel_that_was_moved_has_its_symbols_elsewhere(tmp_path):
    path = tmp_path / "vmlinux"
    path.write_bytes(vmlinux())
    table = read_vmlinux(path, Facts(f"SYMBOL(_stext)={PAGE_OFFSET + 0x10000:x}".encode()))
    assert table.address("init_task") == PAGE_OFFSET + 0x11000


def test_a_vmlinux_of_another_kernel_is_refused(tmp_path):
    path = tmp_path / "vmlinux"
    path.write_bytes(vmlinux(build_id=bytes(20)))
    with pytest.raises(OtherKernelError, match=BUILD_ID.hex()):
        read_vmlinux(path, Facts(b"BUILD-ID=" + BUILD_ID.hex().encode()))


@pytest.mark.parametrize(
    ("image", "message"), [(b"\x7fELF\x02\x01", "cut short"), (b"#!/bin/sh".ljust(64), "not a 64-bit ELF file")]
)
def test_what_is_no_vmlinux_is_named(tmp_path, image, message):
    path = tmp_path / "vmlinux"
    path.write_bytes(image)
    with pytest.raises(FormatError, match=rf"^{path}: .*{message}"):
        read_vmlinux(path, Facts(b""))


@given(st.data())
def test_a_damaged_vmlinux_gives_symbols_or_an_error(tmp_path_factory, data):
    image = bytearray(vmlinux())
    for _ in range(data.draw(st.integers(1, 4))):
        image[data.draw(st.integers(0, len(image) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "vmlinux"
    path.write_bytes(image[: data.draw(st.integers(0, len(image)))])
    with contextlib.suppress(FadumpError):
        read_vmlinux(path, Facts(b""))
