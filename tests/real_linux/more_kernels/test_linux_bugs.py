"""The commands of docs/linux-bugs.md: what they show is Linux's, so a Linux without the bug fails the test.

On a Linux with the repairs each command ends well, with a dump that is the machine at its crash. `make test-kernels`.
"""

import re
from pathlib import Path

import pytest

from fadump.kit.kernel import build_kernel
from tests.real_linux.fadump_command import fadump_run
from tests.real_linux.more_kernels.repaired import repaired_kernel, repaired_petitboot

DOCUMENT = Path(__file__).parents[3] / "docs/linux-bugs.md"
COMMANDS = re.findall(r"^    fadump run --machine qemu (.*)$", DOCUMENT.read_text(), re.MULTILINE)
*ON_ANY, ON_6_1, THROUGH_PETITBOOT = COMMANDS
MEMORY = ("--memory", "1G", "--dimm")
FEW, MANY = (*MEMORY, "8G@8G", "--cmdline", "crashkernel=2200M"), (*MEMORY, "4G@8G", "--cmdline", "crashkernel=1200M")
TO_KDUMP = ("--memory", "1280M", "--cmdline", "crashkernel=256M")


@pytest.fixture(scope="module")
def kernel():
    return ("--kernel", str(build_kernel("6.12", "64K").bootable))


@pytest.fixture(scope="module")
def repaired():
    return ("--kernel", str(repaired_kernel()))


def test_these_are_the_documents_commands():
    bugs = ("crash-info", "bootargs-append", "panic-text")
    tested = [*(f"--strict {bug}" for bug in bugs), " ".join(FEW), " ".join(MANY)]
    assert sorted(ON_ANY) == sorted(tested)
    assert f"--kernel VMLINUX-OF-6.1 {' '.join(TO_KDUMP)}; test -s fadump-run/vmcore" == ON_6_1


def test_linux_frees_what_its_next_dump_needs_and_passes_no_text(tmp_path, kernel):
    done = fadump_run(tmp_path / "out", *kernel, "--strict")
    assert done.status == 1 and done.json["result"] == "saved"
    assert done.json["error"].endswith("(and 2 more)") and done.json["panic_text"] == ""
    freed = re.findall(r"freeing reserved memory \((0x[0-9a-f]+) - (0x[0-9a-f]+)\)", done.file("console.log"))
    told = {entry["what"]: entry["address"] for entry in done.json["freed_by_linux"]}
    assert sorted(told) == ["bootargs_append", "crash-info header"]
    for address in told.values():
        assert any(int(start, 16) <= address < int(end, 16) for start, end in freed)
    (crash,) = [line for line in done.file("firmware.log").splitlines() if "dump triggered" in line]
    assert crash.endswith("(0x0) -> dump triggered by os-term")


@pytest.mark.parametrize(
    ("memory", "phase", "kernel_says"),
    [(FEW, "vmcore_ready", "Fadump header is corrupted"), (MANY, "registered", "Parameter Error(-3)")],
)
def test_linux_loses_a_dump_to_a_hole_below_boot_memory_top(tmp_path, kernel, memory, phase, kernel_says):
    done = fadump_run(tmp_path / "out", *kernel, *memory)
    assert (done.status, done.json["phase"]) == (1, phase)
    assert kernel_says in done.json["error"]
    assert "remark: there is a hole in boot memory, 0x40000000 to 0x200000000" in done.stderr


@pytest.mark.parametrize("command", ON_ANY)
def test_a_repaired_linux_ends_each_command_well(tmp_path, repaired, command):
    done = fadump_run(tmp_path / "out", *repaired, "--verify", *command.split())
    assert done.status == 0, f"{done.stderr}\nfiles are in {done.out}"
    assert done.json["verified"]["bytes_different"] == 0 and done.json["verified"]["registers_different"] == []
    assert done.json["panic_text"] == "OS panic: sysrq triggered crash"
    assert not any(not entry["kept"] for entry in done.json["freed_by_linux"])


def test_linux_6_1_refuses_a_crash_kernel_and_a_newer_one_does_not(tmp_path, repaired):
    old = fadump_run(tmp_path / "old", "--kernel", str(build_kernel("6.1", "64K").bootable), *TO_KDUMP)
    assert "kexec_file_load() has failed with error 22" in old.json["error"]
    assert not (old.out / "vmcore").exists()
    new = fadump_run(tmp_path / "new", *repaired, *TO_KDUMP)
    assert new.json["result"] == "not-registered" and (new.out / "vmcore").stat().st_size > 0


def test_a_repaired_petitboot_loads_beside_the_dump(tmp_path, kernel):
    """One that isn't repaired doesn't: test_petitboot.py."""
    before, petitboot, after = THROUGH_PETITBOOT.partition("--petitboot")
    words = [*before.split(), petitboot, str(repaired_petitboot()), *after.split()]
    done = fadump_run(tmp_path / "out", *kernel, *words)
    assert done.status == 0, f"{done.stderr}\nfiles are in {done.out}"
    assert done.json["verified"]["bytes_different"] == 0 and done.json["verified"]["registers_different"] == []
    assert done.file("console.log").count("petitboot: kexec -s -l ") == 2
