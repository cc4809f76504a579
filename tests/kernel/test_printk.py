"""The model kernel's log: what is written is read back by the reader of dumps."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fadump.kernel import printk
from fadump.kernel.printk import Level, Printk
from fadump.linux.log.reader import read_log
from fadump.linux.memory import KernelMemory
from fadump.linux.vmcoreinfo import Facts
from fadump.memory.ranges import Range
from tests.kernel.running import guest_memory

ADDRESS = 0x10_0000
RAM = Range(0, 0x20_0000)


class MemoryDump:
    """As much of a dump as the log's reader needs."""

    byte_order = "little"
    machine = "ppc64le"
    vmcoreinfo = b""

    def __init__(self, memory):
        self.read_physical = memory.read


def records(memory, log):
    text = "".join(f"{key}={value}\n" for key, value in {**log.facts(), "PAGESIZE": "65536"}.items())
    return list(read_log(KernelMemory(MemoryDump(memory), Facts(text.encode()))))


def test_a_message_has_its_time_and_level_on_the_console_and_in_memory():
    lines = []
    with guest_memory(RAM) as memory:
        log = Printk(memory, ADDRESS, lines.append)
        log.delay(1500)
        log.pr_err("rtas fadump: no")
        (record,) = records(memory, log)
    assert lines == ["[    1.500001] rtas fadump: no\n"] == [f"{line}\n" for line in record.lines()]
    assert (record.level, record.facility, record.sequence, record.caller) == (Level.ERR, 0, 0, "C0")
    assert list(log.last_lines) == ["rtas fadump: no"]


def test_a_command_lines_bytes_are_the_same_on_the_console_in_proc_and_in_memory():
    """The model has them as a string of as many characters, as the rest of the kernel has."""
    lines = []
    with guest_memory(RAM) as memory:
        log = Printk(memory, ADDRESS, lines.append)
        log.pr_info(f"fadump: {'Grüße'.encode().decode('latin-1')} \xff")
        (record,) = records(memory, log)
        unread = log.read_unread(100)
    assert unread == b"<6>[    0.000001] fadump: " + "Grüße".encode() + b" \xff\n"
    assert lines == ["[    0.000001] fadump: Grüße \\xff\n"] == [f"{line}\n" for line in record.lines()]
    assert list(log.last_lines) == ["fadump: Grüße \\xff"]


def test_a_log_without_messages_can_be_read():
    with guest_memory(RAM) as memory:
        assert records(memory, Printk(memory, ADDRESS, print)) == []


@given(st.lists(st.text(max_size=200), max_size=60), st.integers(0, 7), st.integers(0, 4))
def test_the_last_messages_are_there_whatever_has_run_out(texts, count_bits, text_bits):
    with pytest.MonkeyPatch.context() as small, guest_memory(RAM) as memory:
        small.setattr(printk, "COUNT_BITS", 2 + count_bits)
        small.setattr(printk, "TEXT_BITS", 11 + text_bits)
        log = Printk(memory, ADDRESS, lambda _line: None)
        for text in texts:
            log.pr_info(text.encode().decode("latin-1"))
        found = records(memory, log)
    assert [record.sequence for record in found] == list(range(len(texts) - len(found), len(texts)))
    assert [record.text for record in found] == texts[len(texts) - len(found) :]
    assert found or not texts
    room = min(1 << 2 + count_bits, (1 << 11 + text_bits) // 816)  # a text of 200 characters takes up to 808 bytes
    assert len(found) >= min(len(texts), room)
