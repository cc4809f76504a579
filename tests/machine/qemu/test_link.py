"""What is kept of a guest's console, to be said when its machine stops."""

import asyncio
import io

import pytest

from fadump.machine.qemu.link import QemuLink, shown_line


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("Booting from memory...\r", "Booting from memory..."),
        ("\x1b[0m\x1b[?25hC0000\rC0100\rC0120\rPopulating /vdevice methods\r", "Populating /vdevice methods"),
        ("\x1b[1mQEMU Starting\r\r", "QEMU Starting"),
        ("\r", ""),
        ("", ""),
    ],
)
def test_a_line_is_as_a_terminal_shows_it_last(line, shown):
    assert shown_line(line) == shown


def test_of_a_line_without_an_end_its_last_characters_are_kept():
    """A guest may write one for ever: neither what it takes of memory nor the work of each read grows with it."""
    log = io.BytesIO()

    async def read():
        link = QemuLink(None, log, lambda line: line == "panic")
        reader = asyncio.StreamReader()
        reader.feed_data(b"1" * 1_000_000)
        reader.feed_data(b"2" * 10_000 + b"\npanic\n" + b"3" * 1_000_000)
        reader.feed_eof()
        await link._read_console(reader)
        return list(link.console), link.inbox.qsize(), len(link._unfinished_line)

    assert asyncio.run(read()) == (["2" * 1024, "panic"], 1, 1024)
    assert len(log.getvalue()) == 2_010_007
