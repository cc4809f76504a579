"""Source lines of a module's function, of a kernel whose vmlinux is given; a real compiler has made the module."""

import re
import subprocess

import pytest

from fadump.cli import report, show
from tests.linux.state_kernel import StateKernel
from tests.linux.test_placed_module import SOURCE, TOOLS, extent, told_by_addr2line
from tests.linux.test_symbols import ABSOLUTE, BUILD_ID, GLOBAL_FUNC, vmlinux

MODULE_ID = "ab" * 20


@pytest.fixture
def module(tmp_path):
    """A module that lies where modules do, beside a vmlinux."""
    path = tmp_path / "modules" / "story.ko"
    path.parent.mkdir()
    (tmp_path / "story.c").write_text(SOURCE)
    link = ["-r", "-nostdlib", f"-Wl,--build-id=0x{MODULE_ID}"]
    subprocess.run([f"{TOOLS}gcc", "-O2", "-g", *link, "story.c", "-o", path], cwd=tmp_path, check=True)
    return path


@pytest.mark.parametrize("command", [show, report])
def test_the_line_of_a_modules_function_is_told(run_command, tmp_path, module, command):
    start, _size = extent(module, "working")
    kernel = StateKernel(count=1, crashing=0)
    kernel.facts["BUILD-ID"] = BUILD_ID.hex()
    at = kernel.add_module("story", build_id=bytes.fromhex(MODULE_ID), symbols=[("working", start, 1)])
    kernel.cpus[0] |= {"nip": at + start}
    symbols = [(name[1:], GLOBAL_FUNC, 1, address) for name, address in kernel.names.items()]
    (tmp_path / "vmlinux").write_bytes(vmlinux(rows=[*symbols, ABSOLUTE]))
    _status, out, _err = run_command(command, kernel.core(), "--vmlinux", str(tmp_path / "vmlinux"))
    ((_function, _file, line),) = told_by_addr2line(module, ".text", start)
    assert re.search(rf"{at + start:016x} working\+0x0/0x[0-9a-f]+ \[story\]  story\.c:{line}$", out, re.MULTILINE)
