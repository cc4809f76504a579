"""The commands of docs/linux-bugs.md: what they show is Linux's, so a Linux without the bug fails the test.

`make test-kernels`.
"""

import re

import pytest

from fadump.kit.kernel import build_kernel
from tests.real_linux.fadump_command import fadump_run


@pytest.fixture(scope="module")
def kernel():
    return ("--kernel", str(build_kernel("6.12", "64K").bootable))


def test_linux_frees_what_its_next_dump_needs(tmp_path, kernel):
    done = fadump_run(tmp_path / "out", *kernel, "--strict")
    assert done.status == 1 and done.json["result"] == "saved"
    freed = re.findall(r"freeing reserved memory \((0x[0-9a-f]+) - (0x[0-9a-f]+)\)", done.file("console.log"))
    told = {entry["what"]: entry["address"] for entry in done.json["freed_by_linux"]}
    assert sorted(told) == ["bootargs_append", "crash-info header"]
    for address in told.values():
        assert any(int(start, 16) <= address < int(end, 16) for start, end in freed)


@pytest.mark.parametrize(
    ("memory", "phase", "kernel_says"),
    [
        (("--dimm", "8G@8G", "--cmdline", "crashkernel=2200M"), "vmcore_ready", "Fadump header is corrupted"),
        (("--dimm", "4G@8G", "--cmdline", "crashkernel=1200M"), "registered", "Parameter Error(-3)"),
    ],
)
def test_linux_loses_a_dump_to_a_hole_below_boot_memory_top(tmp_path, kernel, memory, phase, kernel_says):
    done = fadump_run(tmp_path / "out", *kernel, "--memory", "1G", *memory)
    assert (done.status, done.json["phase"]) == (1, phase)
    assert kernel_says in done.json["error"]
    assert "remark: memory ranges meet at 0x40000000, within boot memory" in done.stderr


def test_linux_passes_no_text_to_the_firmware(tmp_path, kernel):
    done = fadump_run(tmp_path / "out", *kernel)
    assert done.status == 0, done.stderr
    (crash,) = [line for line in done.file("firmware.log").splitlines() if "dump triggered" in line]
    assert crash.endswith("(0x0) -> dump triggered by os-term")
