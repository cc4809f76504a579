"""Source lines of a module's functions beside those of addr2line, which is told the section."""

import re
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fadump.errors import FormatError
from fadump.linux.vmlinux.placed_module import placed_module
from fadump.linux.vmlinux.source_lines import NoLinesError, SourceLines
from tests.linux.test_source_lines import TOOLS

SOURCE = """
volatile int seen;
static inline __attribute__((always_inline)) void deeper(int what)
{
    if (seen)
        seen = what;
}
__attribute__((noinline)) void working(int what)
{
    deeper(what);
    seen += 2;
}
__attribute__((noinline, section(".init.text"))) int beginning(void)
{
    seen = 1;
    deeper(3);
    return seen;
}
"""
ADDRESSES = {"working": 0xC008_0000_0110_0040, "beginning": 0xC008_0000_0220_0000}
SECTIONS = {"working": ".text", "beginning": ".init.text"}


@pytest.fixture(scope="module", params=["4", "5"])
def module(request, tmp_path_factory):
    directory = tmp_path_factory.mktemp("module")
    (directory / "story.c").write_text(SOURCE)
    command = [f"{TOOLS}gcc", "-O2", f"-gdwarf-{request.param}", "-c", "story.c", "-o", "story.ko"]
    subprocess.run(command, cwd=directory, check=True)
    return directory / "story.ko"


def extent(module, name):
    """Where a function is in its section, and its size."""
    said = subprocess.run([f"{TOOLS}nm", "-S", module], capture_output=True, text=True, check=True).stdout
    start, size = re.search(rf"^([0-9a-f]+) ([0-9a-f]+) T {name}$", said, re.MULTILINE).groups()
    return int(start, 16), int(size, 16)


def told_by_addr2line(module, section, offset):
    words = [f"{TOOLS}addr2line", "-f", "-i", "-j", section, "-e", module, f"{offset:#x}"]
    lines = subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()
    return [
        (name, *re.fullmatch(r"(.*):(\d+)(?: \(.*\))?", at).groups())
        for name, at in zip(*[iter(lines)] * 2, strict=True)
    ]


@pytest.mark.parametrize("name", ADDRESSES)
def test_every_instruction_has_addr2lines_functions_and_lines(module, name):
    start, size = extent(module, name)
    deepest = 0
    with SourceLines(module, image=placed_module(module, ADDRESSES)) as lines:
        for offset in range(0, size, 4):
            found = lines.at(ADDRESSES[name] + offset)
            ours = [(line.function, f"{module.parent}/{line.file}", str(line.line)) for line in found]
            assert ours == told_by_addr2line(module, SECTIONS[name], start + offset)
            deepest = max(deepest, len(ours))
    assert deepest == 2


def test_a_section_that_nothing_places_is_nowhere_near(module):
    with SourceLines(module, image=placed_module(module, {"working": ADDRESSES["working"]})) as lines:
        assert [line.function for line in lines.at(ADDRESSES["working"])][-1] == "working"
        assert lines.at(extent(module, "beginning")[0]) == []


def test_a_module_that_is_too_large_is_refused(module, monkeypatch):
    monkeypatch.setattr("fadump.linux.vmlinux.placed_module.MOST_MODULE_FILE_BYTES", 100)
    with pytest.raises(FormatError, match="bytes in a module's file, more than the"):
        placed_module(module, {})


@given(st.data())
def test_a_damaged_module_is_told_or_read(module, tmp_path_factory, data):
    image = bytearray(module.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(image) - 9))
        image[at : at + 8] = data.draw(st.binary(min_size=8, max_size=8))
    path = tmp_path_factory.getbasetemp() / "damaged.ko"
    path.write_bytes(image)
    try:
        with SourceLines(path, image=placed_module(path, ADDRESSES)) as lines:
            lines.at(ADDRESSES["working"])
    except (FormatError, NoLinesError) as error:
        assert str(error)
