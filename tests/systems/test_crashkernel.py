"""What may stand behind crashkernel= of an image, with what Linux makes of each."""

import re

import pytest

from fadump.systems.crashkernel import check_crashkernel


@pytest.mark.parametrize(
    "text",
    [
        "320M",
        "512m",
        "1G",
        "1023G",
        "0x20000000",
        "524288K",
        "512M@64M",
        "2G-4G:384M,4G-:512M",
        "0-4G:320M,4G-64G:1G@32M",
    ],
)
def test_what_fadump_takes_is_taken(text):
    check_crashkernel(text)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "'' is not a size; write it as 2G or 0x80000000"),  # Linux: memory value expected
        ("1X", "'1X' is not a size; write it as 2G or 0x80000000"),  # Linux: unrecognized char: X
        ("512M quiet", "'512M quiet' is not a size; write it as 2G or 0x80000000"),
        ('512M"', "'512M\"' is not a size; write it as 2G or 0x80000000"),
        ("$(reboot)", "'$(reboot)' is not a size; write it as 2G or 0x80000000"),
        ("512M,high", "'high' is not a size; write it as 2G or 0x80000000"),  # Linux: kdump's, FADump ignores it
        ("512M@", "'' is not a size; write it as 2G or 0x80000000"),
        ("99999999999999999999G", "'99999999999999999999G' does not fit into 64 bits"),
        # Linux: Can't enable fadump with boot memory size (...) less than 0x14000000
        ("0", "'0' is too little: FADump on pseries takes 320M or more"),
        ("319M", "'319M' is too little: FADump on pseries takes 320M or more"),
        ("2G-4G:512M,4G-:100M", "'100M' is too little: FADump on pseries takes 320M or more"),
        ("512", "'512' is too little: FADump on pseries takes 320M or more; did you mean 512M?"),
        ("1T", "'1T' is too much: give less than 1024G, the most that a machine has"),  # Linux: not smaller than RAM
        ("2G-:8E", "'8E' is too much: give less than 1024G, the most that a machine has"),
        ("4G-2G:1G", "'4G-2G' is not a range of RAM; write it as 2G-4G or 4G-"),  # Linux: end <= start
        ("4G:1G", "'4G' is not a range of RAM; write it as 2G-4G or 4G-"),  # Linux: '-' expected
        ("x-:1G", "'x' is not a size; write it as 2G or 0x80000000"),
    ],
)
def test_what_fadump_does_not_take_is_refused(text, sentence):
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        check_crashkernel(text)
