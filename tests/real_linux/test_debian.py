"""A whole Debian by its own GRUB, systemd and kdump-tools: crashed, saved, rebooted, and its dump compared."""


def test_debian_saves_its_dump_as_it_was(debian_saves):
    result = debian_saves()
    assert [window["boot"] for window in result["unregistered"]] == [1, 1, 3, 3]  # by kdump-tools' rule for udev
    assert result["memory"]["reserved_bytes"] == 512 << 20
