"""The programs that load a kernel and start it; that Linux takes what they ask, tests/real_linux/more_kernels has:
test_kdump.py and test_petitboot.py."""

import errno
import subprocess

import pytest

from fadump.kit.kexec import kexec_program, load_program, start_program

ON_CRASH = 2
LOAD = [
    "ld r6,16(r1)", "li r5,0", "lbzx r0,r6,r5", "addi r5,r5,1", "cmpwi r0,0", "bne 0x80",
    "li r3,3", "li r4,4", "li r7,{flags}", "li r0,382", "sc", "li r0,1", "sc",
]  # fmt: skip
START = [
    "lis r3,-287", "ori r3,r3,57005", "lis r4,10258", "ori r4,r4,6505", "lis r5,17752", "ori r5,r5,17731",
    "li r0,88", "sc", "li r0,1", "sc",
]  # fmt: skip


@pytest.fixture
def program(tmp_path):
    def written(content):
        path = tmp_path / "kexec"
        path.write_bytes(content)
        path.chmod(0o755)
        return path

    return written


def calls_of(path):
    """What it asks of a Linux that has no kexec_file_load(2), and its exit status."""
    command = ["qemu-ppc64le", "-strace", path, "console=hvc0 panic=5"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return [line.partition(" ")[2] for line in done.stderr.splitlines()], done.returncode


def code_of(path, first):
    found = subprocess.run(
        ["powerpc64le-linux-gnu-objdump", "-D", "-b", "binary", "-m", "powerpc:common64", "-EL", path],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    code = [" ".join(line.split("\t")[2].split()) for line in found.splitlines() if line.count("\t") > 1]
    return code[code.index(first) :]


@pytest.mark.parametrize("content", [kexec_program(), load_program()], ids=["kexec", "load"])
def test_loading_makes_one_system_call_and_ends_with_its_error(program, content):
    path = program(content)
    assert calls_of(path) == (["Unknown syscall 382", f"exit({errno.ENOSYS})"], errno.ENOSYS)


@pytest.mark.parametrize(
    ("content", "flags"), [(kexec_program(), ON_CRASH), (load_program(), 0)], ids=["kexec", "load"]
)
def test_it_asks_for_a_kernel_with_the_command_line_up_to_its_zero(program, content, flags):
    assert code_of(program(content), LOAD[0]) == [line.format(flags=flags) for line in LOAD]


def test_starting_is_the_reboot_call_that_starts_what_is_loaded(program):
    assert code_of(program(start_program()), START[0]) == START
    assert (-287 & 0xFFFF) << 16 | 57005 == 0xFEE1DEAD  # LINUX_REBOOT_MAGIC1 in linux/reboot.h; the others:
    assert (10258 << 16 | 6505, 17752 << 16 | 17731) == (672274793, 0x45584543)
