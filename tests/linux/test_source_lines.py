"""Source lines beside addr2line's, in a program that the cross compiler has made of a few inlined functions."""

import re
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fadump.linux.cpus.backtrace import Frame
from fadump.linux.vmlinux.source_lines import NoLinesError, SourceLines
from tests.linux.test_symbols import vmlinux

SOURCE = """
volatile int seen;
static inline __attribute__((always_inline)) void deepest(int what)
{
    seen = what;
}
static inline __attribute__((always_inline)) void deeper(int what)
{
    if (seen)
        deepest(what + 1);
    seen = 7;
}
__attribute__((noinline)) void outer(int what)
{
    deeper(what);
    seen += 2;
}
void _start(void)
{
    outer(1);
    for (;;)
        deeper(2);
}
"""
TOOLS = "powerpc64le-linux-gnu-"


@pytest.fixture(scope="module", params=["4", "5"])
def program(request, tmp_path_factory):
    directory = tmp_path_factory.mktemp("lines")
    (directory / "sub").mkdir()
    (directory / "sub" / "story.c").write_text(SOURCE)
    options = ["-O2", f"-gdwarf-{request.param}", "-static", "-nostdlib", "-Wl,-Ttext=0x10000000"]
    subprocess.run([f"{TOOLS}gcc", *options, "sub/story.c", "-o", "program"], cwd=directory, check=True)
    return directory / "program"


def addresses(program):
    """Every instruction's that is in a function, not between two."""
    listing = subprocess.run([f"{TOOLS}objdump", "-d", program], capture_output=True, text=True, check=True).stdout
    symbols = subprocess.run([f"{TOOLS}nm", "-S", program], capture_output=True, text=True, check=True).stdout
    sizes = re.findall(r"^([0-9a-f]+) ([0-9a-f]+) T", symbols, re.MULTILINE)
    functions = [range(int(start, 16), int(start, 16) + int(size, 16)) for start, size in sizes]
    found = (int(found, 16) for found in re.findall(r"^ +([0-9a-f]+):\t", listing, re.MULTILINE))
    return [address for address in found if any(address in function for function in functions)]


def told_by_addr2line(program, address):
    words = [f"{TOOLS}addr2line", "-f", "-i", "-e", program, f"{address:#x}"]
    lines = subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()
    return [
        (name, *re.fullmatch(r"(.*):(\d+)(?: \(.*\))?", at).groups())
        for name, at in zip(*[iter(lines)] * 2, strict=True)
    ]


def test_every_address_has_addr2lines_functions_and_lines(program):
    of_them = addresses(program)
    inlined = 0
    with SourceLines(program) as lines:
        for address in of_them:
            ours = [(line.function, f"{program.parent}/{line.file}", str(line.line)) for line in lines.at(address)]
            assert ours == told_by_addr2line(program, address)
            inlined = max(inlined, len(ours))
    assert len(of_them) > 10 and inlined == 3


def test_a_caller_has_the_line_of_its_call(program):
    symbols = subprocess.run([f"{TOOLS}nm", program], capture_output=True, text=True, check=True).stdout
    start = int(re.search(r"([0-9a-f]+) T _start", symbols)[1], 16)
    calls = subprocess.run([f"{TOOLS}objdump", "-d", program], capture_output=True, text=True, check=True).stdout
    call = next(
        int(found, 16)
        for found in re.findall(r"^ +([0-9a-f]+):\t.*\tbl ", calls, re.MULTILINE)
        if int(found, 16) >= start
    )
    moved = 0xC000_0000_0000_0000
    with SourceLines(program, moved) as lines:
        found = lines.of_frames([Frame(start + moved, 1, None), Frame(call + 4 + moved, 2, None), Frame(5, 3, None)])
    assert [line.line for line in found[call + 4 + moved]] == [SOURCE.splitlines().index("    outer(1);") + 1]
    assert 5 not in found


def test_what_has_no_lines_says_so(tmp_path):
    (tmp_path / "vmlinux").write_bytes(vmlinux())
    for data in (vmlinux(), b"", b"text"):
        (tmp_path / "vmlinux").write_bytes(data)
        with pytest.raises(NoLinesError):
            SourceLines(tmp_path / "vmlinux")


def test_nothing_is_said_of_other_addresses(program):
    with SourceLines(program) as lines:
        assert lines.at(0) == lines.at((1 << 64) - 1) == lines.at(-5) == []


@given(st.data())
def test_a_damaged_file_is_told_or_read(program, tmp_path_factory, data):
    image = bytearray(program.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(image) - 9))
        image[at : at + 8] = data.draw(st.binary(min_size=8, max_size=8))
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(image)
    try:
        with SourceLines(path) as lines:
            lines.at(0x1000_0010)
    except NoLinesError as error:
        assert str(path) in str(error)
