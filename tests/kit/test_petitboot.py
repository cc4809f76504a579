"""The initramfs of a kernel in front; that it starts the system's, tests/real_linux/more_kernels/test_petitboot.py."""

import base64
import gzip
import subprocess
from importlib import resources
from pathlib import Path

import pytest

from fadump.errors import SetupError, UsageError
from fadump.kit.command_line import PETITBOOT_INIT_PATH, petitboot_command_line
from fadump.kit.petitboot import build_petitboot
from tests.kit.conftest import into_cache, make_deb

INIT = Path(str(resources.files("fadump.kit") / "data" / "petitboot"))


@pytest.fixture
def system(cache, tmp_path):
    """The system's kernel and initramfs, and a busybox in the cache, so that none is fetched."""
    into_cache(cache, make_deb(tmp_path, "busybox-static", "1.37-1", "ppc64el", {"usr/bin/busybox": b"BUSYBOX"}))
    for name in ("vmlinux", "initrd"):
        (tmp_path / name).write_text(name)
    return tmp_path / "vmlinux", tmp_path / "initrd"


def listed(initramfs):
    command = ["cpio", "-itv", "--quiet"]
    done = subprocess.run(command, input=gzip.decompress(initramfs.read_bytes()), capture_output=True, check=True)
    lines = [line.split() for line in done.stdout.decode().splitlines()]
    return {line[-1]: line[0] for line in lines}


def test_it_holds_programs_to_be_run_and_what_they_are_to_start_each_in_a_directory_before_it(system):
    found = listed(build_petitboot(*system, {"/usr/sbin/kexec": b"ELF"}))
    programs = [PETITBOOT_INIT_PATH, "/fadump/busybox", "/fadump/load", "/fadump/start", "/usr/sbin/kexec"]
    assert all(found[program[1:]] == "-rwxr-xr-x" for program in programs)
    assert [found[f"fadump/next/{name}"] for name in ("kernel", "initrd")] == ["-rw-r--r--"] * 2
    names = [*found]
    for directory in ("fadump", "fadump/next", "usr", "usr/sbin"):  # Linux makes none that it isn't told of
        assert found[directory] == "drwxr-xr-x"
        assert names.index(directory) < min(names.index(name) for name in names if name.startswith(f"{directory}/"))


def test_it_is_made_once_and_anew_for_another_kernel_or_tool(system):
    first = build_petitboot(*system)
    made = first.stat().st_mtime_ns
    assert (build_petitboot(*system), first.stat().st_mtime_ns) == (first, made)
    with_tools = build_petitboot(*system, {"/usr/sbin/kexec": b"ELF"})
    assert len({first, with_tools, build_petitboot(*system, {"/usr/sbin/kexes": b"ELF"})}) == 3
    system[0].write_text("another")
    assert build_petitboot(*system) != first


def test_a_kernel_that_is_not_there_is_told(system, tmp_path):
    with pytest.raises(SetupError, match="missing can't be read for an initramfs: No such file"):
        build_petitboot(tmp_path / "missing", system[1])


def test_init_is_a_shell_script_that_reads_its_words_as_they_are_written(tmp_path):
    subprocess.run(["sh", "-n", INIT], check=True)
    cmdline = 'console=hvc0 crashkernel=1G module.dyndbg="file a.c +p" fadump=on'
    (tmp_path / "cmdline").write_text(petitboot_command_line(cmdline) + "\n")
    functions = INIT.read_text().partition("\nload() ")[0].replace("/proc/cmdline", str(tmp_path / "cmdline"))
    done = subprocess.run(["sh", "-c", f"{functions}\nnext_cmdline"], capture_output=True, text=True, check=True)
    assert done.stdout == cmdline


def test_the_systems_command_line_is_handed_on_and_none_of_its_words_meant_for_the_kernel_in_front():
    words = petitboot_command_line("crashkernel=1G fadump=on").split()
    assert f"rdinit={PETITBOOT_INIT_PATH}" in words
    assert not any(word.startswith(("crashkernel=", "fadump=")) for word in words)
    (handed_on,) = (word.removeprefix("petitboot.next=") for word in words if word.startswith("petitboot.next="))
    assert base64.b64decode(handed_on) == b"crashkernel=1G fadump=on"


def test_a_command_line_that_linux_would_cut_is_refused():
    longest = next(size for size in range(2048, 0, -3) if _fits(size))
    assert len(petitboot_command_line("x" * longest)) <= 2047
    with pytest.raises(UsageError, match=r"--cmdline is too long for --petitboot: Linux takes 2,047 bytes"):
        petitboot_command_line("x" * (longest + 3))


def _fits(size):
    try:
        petitboot_command_line("x" * size)
    except UsageError:
        return False
    return True
