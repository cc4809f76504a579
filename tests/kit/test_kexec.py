"""The program that loads a crash kernel; that Linux takes what it asks, tests/real_linux/more_kernels/test_kdump.py."""

import errno
import subprocess

import pytest

from fadump.kit.kexec import kexec_program


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "kexec"
    path.write_bytes(kexec_program())
    path.chmod(0o755)
    return path


def test_it_makes_one_system_call_and_ends_with_its_error(program):
    command = ["qemu-ppc64le", "-strace", program, "console=hvc0 panic=5"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # of a Linux that has no such call
    assert done.returncode == errno.ENOSYS
    calls = [line.partition(" ")[2] for line in done.stderr.splitlines()]
    assert calls == ["Unknown syscall 382", f"exit({errno.ENOSYS})"]


def test_it_asks_for_a_crash_kernel_with_the_command_line_up_to_its_zero(program):
    found = subprocess.run(
        ["powerpc64le-linux-gnu-objdump", "-D", "-b", "binary", "-m", "powerpc:common64", "-EL", program],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    code = [" ".join(line.split("\t")[2].split()) for line in found.splitlines() if line.count("\t") > 1]
    assert code[code.index("ld r6,16(r1)") :] == [
        "ld r6,16(r1)", "li r5,0", "lbzx r0,r6,r5", "addi r5,r5,1", "cmpwi r0,0", "bne 0x80",
        "li r3,3", "li r4,4", "li r7,2", "li r0,382", "sc", "li r0,1", "sc",
    ]  # fmt: skip
