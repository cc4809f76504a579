"""What is kept of a guest's console, to be said when its machine stops."""

import pytest

from fadump.machine.qemu.link import shown_line


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
