import pytest
from hypothesis import given
from hypothesis import strategies as st

from fadump.errors import FormatError
from fadump.vmcore.notes import REGISTER_NAMES, Note, decode_prstatus, iter_notes, vmcoreinfo_lines
from tests.vmcore.core_builder import note, prstatus

byte_orders = pytest.mark.parametrize("byte_order", ["little", "big"])
names = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=12)
some_notes = st.lists(st.tuples(names, st.integers(0, 2**32 - 1), st.binary(max_size=20)), max_size=6)


@byte_orders
@given(described=some_notes)
def test_what_is_written_is_read_back(byte_order, described):
    data = b"".join(note(*fields, byte_order) for fields in described)
    found = list(iter_notes(data, byte_order, 0x1000))
    assert [(a_note.name, a_note.type, a_note.desc) for a_note in found] == described
    for a_note in found:
        at = a_note.offset - 0x1000
        assert data[at : at + len(a_note.desc)] == a_note.desc


@given(some_notes, st.data())
def test_notes_cut_anywhere_are_refused_or_whole_up_to_there(described, data):
    whole = b"".join(note(*fields) for fields in described)
    cut = data.draw(st.integers(0, len(whole)))
    found = []
    try:
        for a_note in iter_notes(whole[:cut], "little"):
            found.append(a_note)  # noqa: PERF402  (what came before the error counts)
    except FormatError as error:
        assert 0 <= error.offset <= cut + 3  # a name's padding may be what is missing
    assert found == list(iter_notes(whole, "little"))[: len(found)]


@given(st.binary(max_size=200), st.sampled_from(["little", "big"]))
def test_any_bytes_are_notes_or_refused(data, byte_order):
    try:
        for a_note in iter_notes(data, byte_order):
            assert len(a_note.desc) < len(data)
    except FormatError as error:
        assert error.offset >= 0


@pytest.mark.parametrize(
    ("header", "message", "offset"),
    [
        (b"\xff\xff\xff\xff\0\0\0\0\1\0\0\0CORE", "note name cut short", 0x10C),
        (b"\x05\0\0\0\xff\xff\xff\xff\1\0\0\0CORE\0\0\0\0", "note cut short", 0x114),
        (b"\x05\0\0\0\0\0\0", "note header cut short", 0x100),
    ],
)
def test_a_note_larger_than_its_segment_is_refused(header, message, offset):
    with pytest.raises(FormatError, match=message) as error:
        list(iter_notes(header, "little", 0x100))
    assert error.value.offset == offset


def test_zeros_end_the_notes():
    data = note("CORE", 1, b"first") + bytes(12) + note("CORE", 1, b"never reached")
    assert [a_note.desc for a_note in iter_notes(data, "little")] == [b"first"]


def test_the_last_padding_may_be_missing():
    data = note("VMCOREINFO", 0, b"A=1\nB")
    assert [a_note.desc for a_note in iter_notes(data[:-3], "little")] == [b"A=1\nB"]


@byte_orders
def test_every_register_has_its_own_place(byte_order):
    registers = {name: 0x0102_0304_0506_0700 + number for number, name in enumerate(REGISTER_NAMES)}
    raw = prstatus(registers, pid=0x1234, signal=11, byte_order=byte_order)
    (a_note,) = iter_notes(raw, byte_order)
    status = decode_prstatus(a_note, byte_order)
    assert (status.pid, status.signal) == (0x1234, 11)
    assert dict(status.registers) == registers
    assert tuple(status.registers) == REGISTER_NAMES


def test_prstatus_may_end_after_its_registers_and_not_before():
    desc = bytes(496)
    assert decode_prstatus(Note("CORE", 1, desc, 0), "little").registers["result"] == 0
    with pytest.raises(FormatError, match="NT_PRSTATUS cut short") as error:
        decode_prstatus(Note("CORE", 1, desc[:-1], 0x200), "little")
    assert (error.value.offset, error.value.expected, error.value.found) == (0x200, 496, 495)


def test_vmcoreinfo_is_lines_of_keys_and_values():
    text = b"OSRELEASE=6.12\nno value here\nSYMBOL(a)=c0\nEMPTY=\nOSRELEASE=6.13\nNUMBER(x)=a=b\0\0"
    lines = [(line.key, line.value) for line in vmcoreinfo_lines(text)]
    assert lines == [
        ("OSRELEASE", "6.12"),
        ("SYMBOL(a)", "c0"),
        ("EMPTY", ""),
        ("OSRELEASE", "6.13"),
        ("NUMBER(x)", "a=b"),
    ]
    assert [text[line.offset :][: len(line.value)].decode() for line in vmcoreinfo_lines(text)] == [
        value for _key, value in lines
    ]


def test_vmcoreinfo_of_any_bytes_is_text():
    assert list(vmcoreinfo_lines(b"A=\xff\xfe\n")) == [("A", "\\xff\\xfe", 2)]
