"""Which words of QEMU's command line are options and which are values, against what QEMU itself says."""

import re
import subprocess

import pytest

from fadump.emulator.command_line import WITHOUT_VALUE, Option, parse
from fadump.errors import UsageError

QEMU = "qemu-system-ppc64"


def names_in_help():
    """QEMU's options in its own -help."""
    text = subprocess.run([QEMU, "-help"], capture_output=True, text=True, check=True).stdout
    return {name for names in re.findall(r"^-[^ \n]+", text, re.MULTILINE) for name in re.findall(r"\w[\w-]*", names)}


def takes_value(name):
    """Whether QEMU misses one where the option is its last word."""
    said = subprocess.run([QEMU, "-version", f"-{name}"], capture_output=True, text=True, check=False)
    assert said.returncode == 0 or "requires an argument" in said.stderr
    return said.returncode != 0


def test_the_options_without_a_value_are_those_of_the_real_qemu():
    names = names_in_help()
    assert names >= {"S", "kernel", "fdb", "nographic", "enable-kvm"}
    assert {name for name in names if not takes_value(name)} == names & WITHOUT_VALUE


def test_a_value_is_the_word_after_its_option_even_if_it_looks_like_one():
    assert parse(["-append", "-S", "--kernel", "vmlinux", "-S"]) == [
        Option("append", "-S", 1),
        Option("kernel", "vmlinux", 3),
        Option("S"),
    ]


def test_a_word_of_no_option_is_a_disk():
    assert parse(["disk.img", "-nographic", "-"]) == [
        Option("hda", "disk.img", 0),
        Option("nographic"),
        Option("hda", "-", 2),
    ]


def test_an_option_without_its_value_is_refused():
    with pytest.raises(UsageError, match="-kernel lacks its value"):
        parse(["-S", "-kernel"])


@pytest.mark.parametrize(
    ("value", "pairs"),
    [
        ("4G", {"": "4G"}),
        ("size=4G,slots=2", {"size": "4G", "slots": "2"}),
        ("pseries,dumpdtb=a,,b.dtb,usb", {"": "pseries", "dumpdtb": "a,b.dtb", "usb": "on"}),
        ("file=a,,,,b", {"file": "a,,b"}),
        ('{"qom-type": "memory-backend-ram", "size": 1024, "share": true}',
         {"qom-type": "memory-backend-ram", "size": "1024", "share": "on"}),
        ('{"no JSON', {}),
        ("{}", {}),
        ("", {"": ""}),
    ],
)  # fmt: skip
def test_a_value_has_properties(value, pairs):
    assert Option("object", value).pairs == pairs


@pytest.mark.parametrize(("value", "asks"), [("help", True), ("?", True), ("virtio-net,help", True), ("helper", False)])
def test_help_is_asked_for_by_any_option(value, asks):
    assert Option("device", value).asks_for_help is asks


def test_a_kernels_command_line_may_be_anything():
    assert not Option("append", "help").asks_for_help
