from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fadump.kernel.plan.cmdline import CommandLine, cmdline_lines, memparse, parse_command_line, parse_crashkernel
from fadump.kernel.plan.kdump import kdump_reservation
from fadump.kernel.printk import Level
from fadump.kernel.traits import GIB, LINUX_6_1, LINUX_6_12, LINUX_7_2, MIB, U64
from tests.kernel.systems import pseries

RAM = 4 * GIB


@pytest.mark.parametrize(
    ("text", "value", "end"),
    [
        ("512M", 512 * MIB, 4),
        ("512m@1G", 512 * MIB, 4),
        ("1k", 1024, 2),
        ("2T", 2 << 40, 2),
        ("3p", 3 << 50, 2),
        ("1E", 1 << 60, 2),
        ("0x20000000", 512 * MIB, 10),
        ("0x1E", 0x1E, 4),
        ("0X1g", 1 << 30, 4),
        ("010", 8, 3),
        ("08", 0, 1),
        ("0x", 0, 1),
        ("0xg", 0, 1),
        ("M", 0, 1),
        ("", 0, 0),
        ("-1", 0, 0),
        ("+1", 0, 0),
        ("12MM", 12 * MIB, 3),
        ("18446744073709551617", 1, 20),
        ("16E", 0, 3),
    ],
)
def test_sizes_are_read_as_linux_reads_them(text, value, end):
    assert memparse(text) == (value, end)


def test_a_size_may_stand_inside_a_text():
    assert memparse("x=3G,", 2) == (3 * GIB, 4)


@pytest.mark.parametrize(
    ("cmdline", "size_bytes", "base"),
    [
        ("crashkernel=512M", 512 * MIB, 0),
        ("quiet crashkernel=512M fadump=on", 512 * MIB, 0),
        ("crashkernel=512M@128M", 512 * MIB, 128 * MIB),
        ("crashkernel=512M@", 512 * MIB, 0),
        ("crashkernel=512M crashkernel=1G", GIB, 0),
        ("crashkernel=512M crashkernel=1G,high", 512 * MIB, 0),
        ("crashkernel=1G,low crashkernel=512M crashkernel=72M,low", 512 * MIB, 0),
        ("crashkernel=2G-4G:320M,4G-32G:512M,32G-:1G", 512 * MIB, 0),
        ("crashkernel=2G-4G:320M,4G-32G:512M,32G-:1G@64M", 512 * MIB, 64 * MIB),  # an offset goes with the whole table
        ("crashkernel=2G-4G:320M,4G-:512M@64M", 512 * MIB, 64 * MIB),
        ("crashkernel=0-:512M,nonsense", 512 * MIB, 0),
        ("xcrashkernel=512M", 512 * MIB, 0),  # any text with it
        ("quiet -- crashkernel=512M", 512 * MIB, 0),
        ("crashkernel=512M a:b", 512 * MIB, 0),  # a colon in another word
    ],
)
def test_crashkernel_in_all_its_forms(cmdline, size_bytes, base):
    found = parse_crashkernel(cmdline, RAM, LINUX_6_12)
    assert found.problem is None
    assert (found.size_bytes, found.base) == (size_bytes, base)


@pytest.mark.parametrize(
    ("cmdline", "problem"),
    [
        ("fadump=on", "there is no crashkernel="),
        ("crashkernel=1G,high", "crashkernel= does not count if it ends in ,high or ,low"),
        ("crashkernel=1G,cma", "not valid, ',' is not expected"),
        ("crashkernel=", "a size is expected"),
        ("crashkernel=x", "a size is expected"),
        ("crashkernel=512Mb", "'b' is not expected"),
        ("crashkernel=0", "0 bytes"),
        ("crashkernel=M", "0 bytes"),
        ("crashkernel=4G", "not smaller than RAM"),
        ("crashkernel=5G", "not smaller than RAM"),
        ("crashkernel=8G-:512M", "0 bytes"),
        ("crashkernel=1G-2G:0,2G-:0", "0 bytes"),
        ("crashkernel=4G-2G:512M", "ends before it starts"),
        ("crashkernel=4G-4G:512M", "ends before it starts"),
        ("crashkernel=2G:512M", "'-' is expected"),
        ("crashkernel=2G-3G512M,:", "':' is expected"),
        ("crashkernel=2G-:", "a size is expected"),
        ("crashkernel=:512M", "a size is expected"),
        ("crashkernel=2G-x:512M", "a size is expected"),
        ("crashkernel=2G-3G:8G,4G-:512M", "a size is not smaller than RAM"),
        ("crashkernel=4G-:512M@x", "a size is expected"),
    ],
)
def test_a_crashkernel_that_does_not_count_says_why(cmdline, problem):
    found = parse_crashkernel(cmdline, RAM, LINUX_6_12)
    assert problem in found.problem


@pytest.mark.parametrize(
    ("cmdline", "message"),
    [
        ("crashkernel=512M", ""),
        ("crashkernel=1G,cma", "crashkernel: unrecognized char: ,"),
        ("crashkernel=x", "crashkernel: memory value expected"),
        ("crashkernel=0", ""),
        ("crashkernel=8G-:512M", "crashkernel size resulted in zero bytes"),
        ("crashkernel=4G-2G:512M", "crashkernel: end <= start"),
        ("crashkernel=2G:512M", "crashkernel: '-' expected"),
        ("crashkernel=2G-3G512M,:", "crashkernel: ':' expected"),
        ("crashkernel=2G-:", "crashkernel: Memory value expected"),
        ("crashkernel=2G-3G:8G", "crashkernel: invalid size"),
    ],
)
def test_what_linux_says_of_it(cmdline, message):
    said = parse_crashkernel(cmdline, RAM, LINUX_6_12).message
    assert said == ((Level.INFO if "zero" in message else Level.WARN, message) if message else None)


def test_an_older_kernel_takes_a_crashkernel_of_all_ram():
    assert parse_crashkernel("crashkernel=5G", RAM, LINUX_6_1).size_bytes == 5 * GIB
    assert parse_crashkernel("crashkernel=5G", RAM, LINUX_6_1).problem is None
    assert "not smaller than RAM" in parse_crashkernel("crashkernel=2G-:4G", RAM, LINUX_6_1).problem


def test_ram_is_rounded_up_to_128_mib_for_ranges():
    table = "crashkernel=2G-4G:320M,4G-:512M"
    assert parse_crashkernel(table, 4 * GIB - 127 * MIB, LINUX_6_12).size_bytes == 512 * MIB
    assert parse_crashkernel(table, 4 * GIB - 128 * MIB, LINUX_6_12).size_bytes == 320 * MIB


@pytest.mark.parametrize(
    ("cmdline", "fadump", "nocma"),
    [
        ("", False, False),
        ("fadump", False, False),
        ("fadump=on", True, False),
        ("fadump=only", True, False),
        ("fadump=off", False, False),
        ("fadump=offline", False, False),
        ("fadump=xyz", False, False),
        ("fadump=nocma", True, True),
        ("fadump=nocma fadump=on", True, True),  # nothing takes nocma back
        ("fadump=nocma fadump=off", False, True),
        ("fadump=on fadump=off", False, False),
        ("fadump=off fadump=on", True, False),
        ("fadump=on fadump=xyz", True, False),
        ("xfadump=on", False, False),
        ('fadump="on"', True, False),
        ('"fadump=on"', True, False),
        ('a="b fadump=off c" fadump=on', True, False),
        ('fadump=on a="b fadump=off c"', True, False),
        ("  fadump=on\t", True, False),
        ("quiet -- fadump=on", False, False),
        ("--=x fadump=on", True, False),
        ("=fadump=off fadump=on", True, False),
    ],
)
def test_fadump_counts_by_its_prefix_and_the_last_word_wins(cmdline, fadump, nocma):
    found = parse_command_line(cmdline, LINUX_6_12)
    assert (found.fadump, found.nocma) == (fadump, nocma)


def test_sizes_among_the_parameters():
    text = "mem=1000001K fadump-reserve-mem=1G fadump_reserve_mem=600M"
    found = parse_command_line(text, LINUX_6_12)
    assert found == CommandLine(text, fadump_reserve_mem=600 * MIB, memory_limit=0x3D0A0000)
    small_pages = replace(LINUX_6_12, page_bytes=0x1000)
    assert parse_command_line("mem=1000001K", small_pages).memory_limit == 0x3D091000


@pytest.mark.parametrize(
    ("word", "disabled"),
    [
        ("disable_radix", True),
        ("disable-radix", True),
        ("disable_radix=1", True),
        ("disable_radix=yes", True),
        ("disable_radix=on", True),
        ("disable_radix=off", False),
        ("disable_radix=0", False),
        ("disable_radix disable_radix=no", False),
        ("disable_radix disable_radix=maybe", True),
    ],
)
def test_radix_can_be_disabled(word, disabled):
    assert parse_command_line(word, LINUX_6_12).disable_radix is disabled


@pytest.mark.parametrize(
    ("cmdline", "older", "newer"),
    [
        ("crashkernel=512M crashkernel=1G,cma", "is not valid", 512 * MIB),
        ("crashkernel=1G,cma crashkernel=512M", 512 * MIB, 512 * MIB),
        ("crashkernel=1G,cma", "is not valid", "does not count if it ends in ,high or ,low or ,cma"),
        ("crashkernel=512M,cmax", "is not valid", "is not valid"),
    ],
)
def test_newer_kernels_know_what_is_for_cma(cmdline, older, newer):
    for kernel, expected in ((LINUX_6_1, older), (LINUX_6_12, older), (LINUX_7_2, newer)):
        found = parse_crashkernel(cmdline, RAM, kernel)
        if isinstance(expected, int):
            assert (found.size_bytes, found.problem) == (expected, None)
        else:
            assert expected in found.problem


@pytest.mark.parametrize(
    ("cmdline", "lines"),
    [
        ("", [""]),
        ("quiet fadump=on", ["quiet fadump=on"]),
        ("a" * 1000, ["a" * 1000]),
        ("a" * 500 + " " + "b" * 499, ["a" * 500 + " " + "b" * 499]),
        ("a" * 500 + " " + "b" * 500, ["a" * 500 + " \\", "b" * 500]),
        ("a" * 600 + "   " + "b" * 398 + " c", ["a" * 600 + " \\", "b" * 398 + " c"]),
        ("a" * 1100 + " " + "b " * 3, ["a" * 1100 + " \\", "b b b "]),
        ("a" * 1100, ["a" * 1100]),
        ("a" * 1100 + "  ", ["a" * 1100 + "  "]),
    ],
)
def test_newer_kernels_log_a_long_command_line_in_lines_of_1021(cmdline, lines):
    """print_kernel_cmdline(); each line begins with the same 21 characters, and a space and a backslash count."""
    assert list(cmdline_lines(cmdline, LINUX_7_2)) == [f"Kernel command line: {line}" for line in lines]
    assert list(cmdline_lines(cmdline, LINUX_6_12)) == [f"Kernel command line: {cmdline}"]


def test_what_does_not_fit_into_the_command_line_is_lost():
    assert parse_command_line("x" * 2037 + " fadump=on", LINUX_6_12).fadump  # 2047 characters
    assert not parse_command_line("x" * 2039 + " fadump=on", LINUX_6_12).fadump
    assert parse_crashkernel("x" * 2047 + " crashkernel=1G", RAM, LINUX_6_12).problem == "there is no crashkernel="


texts = st.text("crashkernel=fadump0123456789xKMGTPE:-,@ \"'\t", max_size=60) | st.text(max_size=30)


@given(texts, st.integers(1, 1 << 50))
def test_any_command_line_is_read_without_an_error(text, ram_bytes):
    for kernel in (LINUX_6_1, LINUX_6_12, LINUX_7_2):
        kdump_reservation(pseries(), kernel, parse_command_line(f"crashkernel={text},cma", kernel))
        for cmdline in (text, f"crashkernel={text}"):
            found = parse_crashkernel(cmdline, ram_bytes, kernel)
            assert 0 <= found.size_bytes <= U64
        assert 0 <= parse_command_line(f"mem={text} fadump_reserve_mem={text}", kernel).memory_limit <= U64


@given(st.integers(1, 1 << 40), st.integers(1, 1 << 30))
def test_a_plain_size_is_what_it_says(size_bytes, more):
    found = parse_crashkernel(f"crashkernel={size_bytes}", size_bytes + more, LINUX_6_12)
    assert (found.size_bytes, found.problem) == (size_bytes, None)
