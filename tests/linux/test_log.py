import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fadump.abi.linux.printk import LogFlags
from fadump.errors import AddressError, FadumpError, FormatError
from fadump.linux.log.reader import read_log
from fadump.linux.log.record import LogRecord
from fadump.linux.vmcoreinfo import MissingFactError
from tests.linux.kernel_builder import PAGE_OFFSET, FakeKernel, Log, Message, add_flat_log, add_old_log

ORDERS = pytest.mark.parametrize("byte_order", ["little", "big"])
messages = st.lists(st.builds(Message, st.binary(max_size=60).map(lambda text: b"x" + text)), max_size=40)


def texts(kernel):
    return [record.text for record in read_log(kernel.read())]


@ORDERS
def test_a_record_has_all_that_the_kernel_says(byte_order):
    kernel = FakeKernel(byte_order, memory_bytes=1 << 14)
    message = Message(b"hello", 1_234_567_890, 3, 23, 0x8000_0002, 2 | 8, b"pci", b"+pci:0000:00:01.0")
    Log(kernel, [message])
    assert list(read_log(kernel.read())) == [
        LogRecord(
            sequence=0,
            timestamp_ns=1_234_567_890,
            facility=23,
            level=3,
            flags=LogFlags.NEWLINE | LogFlags.CONT,
            text="hello",
            caller="C2",
            subsystem="pci",
            device="+pci:0000:00:01.0",
        )
    ]


@ORDERS
@given(messages, st.booleans())
def test_when_texts_or_descriptors_run_out_the_last_records_are_left(byte_order, written, fills_ring):
    kernel = FakeKernel(byte_order, memory_bytes=1 << 14)
    log = Log(kernel, written, count_bits=3, text_bits=9, fills_ring=fills_ring)
    left = [written[id_] for id_, _begin in log.blocks]
    assert texts(kernel) == [message.text.decode("utf-8", "backslashreplace") for message in left]


def test_ids_go_round_too():
    kernel = FakeKernel(memory_bytes=1 << 14)
    Log(kernel, [Message(b"%d" % number) for number in range(6)], first_id=(1 << 62) - 3)
    assert texts(kernel) == ["0", "1", "2", "3", "4", "5"]


@pytest.mark.parametrize(("state", "shown"), [(0, False), (1, True), (2, True), (3, False)])
def test_only_committed_and_finalized_records_count(state, shown):
    kernel = FakeKernel(memory_bytes=1 << 14)
    log = Log(kernel, [Message(b"one"), Message(b"two")])
    kernel.poke(log.descriptor(1), kernel.pack("Q", state << 62 | 1))
    assert texts(kernel) == (["one", "two"] if shown else ["one"])


def test_a_descriptor_that_is_another_records_by_now_does_not_count():
    kernel = FakeKernel(memory_bytes=1 << 14)
    log = Log(kernel, [Message(b"one"), Message(b"two")])
    kernel.poke(log.descriptor(1), kernel.pack("Q", 2 << 62 | 17))
    assert texts(kernel) == ["one"]


def test_a_text_ends_with_its_block_whatever_its_length_says():
    kernel = FakeKernel(memory_bytes=1 << 14)
    log = Log(kernel, [Message(b"eight by"), Message(b"next")])
    kernel.poke(log.infos + 16, kernel.pack("H", 200))
    assert texts(kernel) == ["eight by", "next"]


def test_a_block_that_would_end_where_it_began_a_round_before_is_at_the_start_of_the_ring():
    """printk_ringbuffer.c, get_data(): what wraps is all at the ring's start, however near the two positions are."""
    kernel = FakeKernel(memory_bytes=1 << 14)
    log = Log(kernel, [Message(b"wrapped")], text_bits=10)
    kernel.poke(log.descriptor(0) + 8, kernel.pack("QQ", 512, 1024 + 512))
    assert texts(kernel) == ["wrapped"]


def test_a_record_without_a_block_is_an_empty_line_or_none():
    kernel = FakeKernel(memory_bytes=1 << 14)
    log = Log(kernel, [Message(b"one"), Message(b"lost"), Message(b"empty")])
    kernel.poke(log.descriptor(1) + 8, kernel.pack("QQ", 1, 1))
    kernel.poke(log.descriptor(2) + 8, kernel.pack("QQ", 3, 3))
    assert texts(kernel) == ["one", ""]


def test_lines_are_printed_as_dmesg_does():
    record = LogRecord(1, 5_000_001_999, 0, 6, LogFlags.NEWLINE, "one\n\ntwo")
    assert list(record.lines()) == ["[    5.000001] one", "[    5.000001] ", "[    5.000001] two"]


def test_bytes_that_are_no_text_are_escaped():
    kernel = FakeKernel(memory_bytes=1 << 14)
    Log(kernel, [Message(b"\xff\xfe")])
    assert texts(kernel) == ["\\xff\\xfe"]


def test_a_text_that_the_dump_lacks_leaves_the_record():
    kernel = FakeKernel(memory_bytes=1 << 14)
    log = Log(kernel, [Message(b"one", 7)])
    kernel.poke(log.ring + 48 + 8, kernel.pack("Q", 0xC000_0FFF_0000_0000))
    (record,) = read_log(kernel.read())
    assert record.text is None
    assert list(record.lines()) == ["[    0.000000] (the dump doesn't have this message's text)"]


def test_records_are_read_where_the_dump_ends_in_an_array():
    kernel = FakeKernel(memory_bytes=1 << 14)
    log = Log(kernel, [Message(b"one"), Message(b"two"), Message(b"three")])
    two_infos = kernel.peek(log.infos, 2 * log.INFO)
    end = PAGE_OFFSET + len(kernel.memory)
    kernel.poke(end - len(two_infos), two_infos)
    kernel.poke(log.ring + 16, kernel.pack("Q", end - len(two_infos)))
    records = read_log(kernel.read())
    assert [next(records).text, next(records).text] == ["one", "two"]
    with pytest.raises(AddressError):
        next(records)


@pytest.mark.parametrize(
    ("offset", "fields", "value", "message"),
    [
        (0, "I", 27, "number of log descriptors"),
        (48, "I", 32, "size of the log's text"),
        (24, "Q", 1 << 40, "the log has .* records and only .* descriptors for them"),
    ],
)
def test_a_ring_of_impossible_size_is_refused(offset, fields, value, message):
    kernel = FakeKernel(memory_bytes=1 << 14)
    log = Log(kernel, [Message(b"one")])
    kernel.poke(log.ring + offset, kernel.pack(fields, value))
    with pytest.raises(FormatError, match=message):
        texts(kernel)


@given(st.data())
def test_a_damaged_ring_gives_records_or_an_error(data):
    kernel = FakeKernel(memory_bytes=1 << 14)
    log = Log(kernel, [Message(b"text %d" % number) for number in range(12)], count_bits=3, text_bits=8)
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(log.descs, log.ring + 88)) & ~7
        kernel.poke(at, kernel.pack("Q", data.draw(st.integers(0, (1 << 64) - 1) | st.integers(0, 64))))
    with contextlib.suppress(FadumpError):
        assert len(texts(kernel)) <= 1 << 3


def test_a_kernel_without_a_log_says_what_is_missing():
    with pytest.raises(MissingFactError, match="prb"):
        texts(FakeKernel())


@ORDERS
@pytest.mark.parametrize("struct_name", ["printk_log", "log"])
@given(messages)
def test_records_of_old_kernels(byte_order, struct_name, written):
    kernel = FakeKernel(byte_order, memory_bytes=1 << 14)
    left = add_old_log(kernel, [Message(message.text, 9, 4, 3) for message in written], struct_name=struct_name)
    found = list(read_log(kernel.read()))
    assert [record.text for record in found] == [kept.text.decode("utf-8", "backslashreplace") for kept in left]
    assert {(record.timestamp_ns, record.level, record.facility) for record in found} <= {(9, 4, 3)}


@ORDERS
def test_records_of_old_kernels_have_their_caller_and_their_device(byte_order):
    kernel = FakeKernel(byte_order, memory_bytes=1 << 14)
    device = {"subsystem": b"pci", "device": b"+pci:0000:00:01.0"}
    written = [Message(b"of a thread", caller=7), Message(b"of a CPU", caller=1 << 31 | 3, **device)]
    add_old_log(kernel, written, with_caller=True)
    found = [(record.text, record.caller, record.subsystem, record.device) for record in read_log(kernel.read())]
    assert found == [("of a thread", "T7", "", ""), ("of a CPU", "C3", "pci", "+pci:0000:00:01.0")]


def test_records_without_a_caller_have_none():
    kernel = FakeKernel(memory_bytes=1 << 14)
    add_old_log(kernel, [Message(b"one", subsystem=b"pci")])
    (record,) = read_log(kernel.read())
    assert (record.text, record.caller, record.subsystem) == ("one", None, "pci")


@ORDERS
def test_the_text_of_kernels_before_3_5(byte_order):
    kernel = FakeKernel(byte_order, memory_bytes=1 << 14)
    add_flat_log(kernel, b"<6>[    1.500000] one\n<12>[   12.000001] of a program\n<4>two\nthree\n")
    shown = [(record.timestamp_ns, record.facility, record.level, record.text) for record in read_log(kernel.read())]
    assert shown == [
        (1_500_000_000, 0, 6, "one"),
        (12_000_001_000, 1, 4, "of a program"),
        (None, 0, 4, "two"),
        (None, 0, 4, "three"),
    ]
    assert [line for record in read_log(kernel.read()) for line in record.lines()] == [
        *("[    1.500000] one", "[   12.000001] of a program", "two", "three"),
    ]


@pytest.mark.parametrize("how", [{}, {"wrapped": True}, {"cleared": True}])
def test_the_ring_of_kernels_before_3_5_has_the_last_text(how):
    kernel = FakeKernel(memory_bytes=1 << 14)
    text = b"".join(b"<6>flat line %d\n" % number for number in range(100))
    add_flat_log(kernel, text, 256, **how)
    left = text[-256:].decode().replace("<6>", "").splitlines()
    assert texts(kernel)[1:] == left[1:] and texts(kernel)[-1] == "flat line 99"


def test_an_empty_text_is_no_record():
    kernel = FakeKernel(memory_bytes=1 << 14)
    add_flat_log(kernel, b"")
    assert texts(kernel) == []


@pytest.mark.parametrize("claimed", [0, (1 << 25) + 1])
def test_a_text_of_impossible_size_is_refused(claimed):
    kernel = FakeKernel(memory_bytes=1 << 14)
    add_flat_log(kernel, b"text")
    kernel.symbol("log_buf_len", kernel.place(kernel.pack("I", claimed)))
    with pytest.raises(FormatError, match="bytes (of|for) the log"):
        texts(kernel)


@given(st.binary(max_size=300), st.integers(0, (1 << 32) - 1), st.integers(0, 1 << 12))
def test_any_bytes_in_the_ring_are_lines_or_an_error(text, end, size):
    kernel = FakeKernel(memory_bytes=1 << 14)
    add_flat_log(kernel, text)
    kernel.symbol("log_end", kernel.place(kernel.pack("I", end)))
    kernel.symbol("log_buf_len", kernel.place(kernel.pack("I", size)))
    with contextlib.suppress(FadumpError):
        assert len(texts(kernel)) <= size


@given(st.integers(0, 511), st.binary(min_size=1, max_size=16))
def test_a_damaged_old_log_gives_records_or_an_error(at, damage):
    kernel = FakeKernel(memory_bytes=1 << 14)
    add_old_log(kernel, [Message(b"text %d" % number) for number in range(30)])
    start = int(kernel.facts["SYMBOL(log_buf)"], 16)
    buffer = int.from_bytes(kernel.peek(start, 8), "little")
    kernel.poke(buffer + at, damage)
    with contextlib.suppress(FadumpError):
        assert len(texts(kernel)) <= 64
