"""What is looked at before anything is fetched, built or started: the kernel, the initramfs, where files go."""

import bz2
import gzip
import lzma
import os
import struct
from pathlib import Path

import pytest
import zstandard

from fadump.cli import main
from fadump.errors import SetupError, UsageError
from fadump.kit import debian, kernel
from fadump.machine.qemu.process import QemuProcess
from fadump.run.host import check_host
from fadump.run.inputs import check_initramfs, check_kernel, check_petitboot
from fadump.run.options import RunOptions

PPC64, PPC, X86_64 = 21, 20, 62


def elf(order="<", bits=64, machine=PPC64, names=b"\0.text\0.shstrtab\0"):
    """An ELF header and one section, that of the names, by the ELF specification."""
    data = {"<": 1, ">": 2}[order]
    ident = b"\x7fELF" + bytes([bits // 32, data, 1]) + bytes(9)
    rest = struct.pack(order + "HHIQQQIHHHHHH", 2, machine, 1, 0, 0, 64, 0, 64, 56, 0, 64, 1, 0)
    section = struct.pack(order + "IIQQQQIIQQ", 1, 3, 0, 0, 128, len(names), 0, 0, 1, 0)
    return ident + rest + section + names


def with_sections_at(e_shoff):
    """The same whose header has this e_shoff, at 0x28."""
    return elf()[:0x28] + struct.pack("<Q", e_shoff) + elf()[0x30:]


def file_with(tmp_path, content):
    path = tmp_path / "file"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("content", [elf(), elf(">"), elf(names=b"")], ids=["ppc64le", "ppc64", "no names"])
def test_a_vmlinux_is_taken(tmp_path, content):
    check_kernel(file_with(tmp_path, content))


def test_a_kernel_in_front_is_a_vmlinux_and_no_package(tmp_path):
    check_petitboot(file_with(tmp_path, elf()))
    package = file_with(tmp_path, b"!<arch>\ndebian-binary   ")
    with pytest.raises(UsageError, match=f"^--petitboot {package} is a package: give the vmlinux or the zImage in it$"):
        check_petitboot(package)
    with pytest.raises(UsageError, match=f"^--petitboot {package} is no ELF file: give the vmlinux"):
        check_petitboot(file_with(tmp_path, b"#!/bin/sh"))


def with_segment(offset, size_bytes, order="<"):
    """A whole vmlinux of one segment, whose program header is at 64."""
    header = bytearray(elf(order)[:64])
    header[0x20:0x30] = struct.pack(order + "QQ", 64, 0)
    header[0x38:0x3A] = struct.pack(order + "H", 1)
    segment = struct.pack(order + "IIQQQQQQ", 1, 5, offset, 0, 0, size_bytes, 1 << 20, 0)
    return bytes(header) + segment + bytes(1000)


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_vmlinux_that_is_cut_short_is_refused(tmp_path, order):
    whole = with_segment(120, 1000, order)
    check_kernel(file_with(tmp_path, whole))
    cut = [(whole[:-1], "1,119 bytes and should have 1,120"), (whole[:100], "100 bytes and should have 120")]
    cut.append((with_segment(2**64 - 1, 2**64 - 1, order), "is cut short"))
    cut.append((whole[:0x20] + b"\xff" * 8 + whole[0x28:], "is cut short"))
    for content, what in cut:
        with pytest.raises(UsageError, match=what):
            check_kernel(file_with(tmp_path, content))


@pytest.mark.parametrize("e_shoff", [0, len(elf()), 2**62, 2**63 - 65, 2**64 - 1])
def test_sections_that_are_not_in_the_file_are_left_to_who_boots_it(tmp_path, e_shoff):
    check_kernel(file_with(tmp_path, with_sections_at(e_shoff)))


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"# fadump\n", "is no ELF file"),
        (b"", "is no ELF file"),
        (elf()[:40], "is no ELF file"),
        (b"\x7fELF\x02\x07" + elf()[6:], "is no ELF file of either byte order"),
        (elf(machine=X86_64), "is for x86_64"),
        (elf(machine=9999), "is for machine 9999"),
        (elf(bits=32), "is for ppc64le"),
        (elf(">", bits=32, machine=PPC), "is for 32-bit PowerPC, as a zImage's wrapper is"),
        (elf(names=b"\0.text\0.kernel:vmlinux.strip\0"), "is a wrapper without a packed kernel"),
        (gzip.compress(elf(), mtime=0), "is packed by gzip"),
        (bz2.compress(elf()), "is packed by bzip2"),
        (lzma.compress(elf()), "is packed by xz"),
        (lzma.compress(elf(), lzma.FORMAT_ALONE), "is packed by lzma"),
        (zstandard.compress(elf()), "is packed by zstd"),
        (bytes.fromhex("27051956") + bytes(60), "is U-Boot's uImage"),
        (b"MZ" + bytes(62), "is an EFI image"),
    ],
)
def test_what_is_no_vmlinux_is_named_with_what_to_give(tmp_path, content, what):
    path = file_with(tmp_path, content)
    with pytest.raises(UsageError) as raised:
        check_kernel(path)
    sentence = str(raised.value)
    assert sentence.startswith(f"--kernel {path} {what}") and "give the vmlinux of a kernel for ppc64" in sentence


@pytest.mark.parametrize(
    "content",
    [
        b"070701" + bytes(104),
        b"070702" + bytes(104),
        bytes(512 % 61) + b"070701" + bytes(104),
        *(pack(b"070701" + bytes(104)) for pack in (gzip.compress, bz2.compress, lzma.compress, zstandard.compress)),
        lzma.compress(b"070701", lzma.FORMAT_ALONE),
        bytes.fromhex("02214c18"),
        b"\x89LZO\x00\r\n\x1a\n",
    ],
    ids=["newc", "newc with checksums", "newc behind zeros", "gzip", "bzip2", "xz", "zstd", "lzma", "lz4", "lzop"],
)
def test_an_initramfs_is_taken_as_linux_takes_it(tmp_path, content):
    check_initramfs(file_with(tmp_path, content))


@pytest.mark.parametrize("content", [b"# fadump\n", b"", b"070707" + bytes(70), elf()])
def test_what_linux_cannot_unpack_is_refused(tmp_path, content):
    with pytest.raises(UsageError, match=r"is no initramfs: give a cpio archive \(newc\), plain or packed by gzip"):
        check_initramfs(file_with(tmp_path, content))


@pytest.mark.parametrize("check", [check_kernel, check_petitboot, check_initramfs])
def test_what_is_not_there_or_no_file_is_told(tmp_path, check):
    with pytest.raises(SetupError, match=r"^--\w+ /nowhere/file can't be read: No such file"):
        check(Path("/nowhere/file"))
    with pytest.raises(SetupError, match=rf"^--\w+ {tmp_path} is a directory: give a file"):
        check(tmp_path)


def test_an_output_directory_that_can_not_be_written_is_told_before_anything_is_made(tmp_path, monkeypatch):
    with pytest.raises(SetupError, match=f"can't write to {tmp_path}/file: it is not a directory: name another --out"):
        check_host(RunOptions(file_with(tmp_path, b"")))
    monkeypatch.setattr(os, "access", lambda path, _mode: path != tmp_path)
    with pytest.raises(SetupError, match=f"can't write to {tmp_path}: name an --out elsewhere"):
        check_host(RunOptions(tmp_path / "not" / "there"))


@pytest.mark.parametrize("option", ["--kernel", "--initrd"])
def test_nothing_is_fetched_built_or_started_before_the_files_are_right(tmp_path, monkeypatch, capsys, option):
    def too_early(*_arguments, **_options):
        pytest.fail("too early")

    for where, name in ((debian, "fetch"), (kernel, "build_kernel"), (QemuProcess, "start")):
        monkeypatch.setattr(where, name, too_early)
    wrong = file_with(tmp_path, b"# fadump\n")
    assert main(["run", "--machine", "qemu", option, str(wrong), "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.startswith(f"fadump: {option} {wrong} is no ")
    assert not (tmp_path / "out").exists()


def test_a_kernel_that_can_not_run_our_guests_programs_is_told_before_it_is_started(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(QemuProcess, "start", lambda *_arguments: pytest.fail("too early"))
    big = file_with(tmp_path, elf(">"))
    assert main(["run", "--machine", "qemu", "--kernel", str(big), "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err == (
        f"fadump: --kernel {big} is big-endian, and the programs of fadump's guest are little-endian: start it by "
        "'fadump vm' or 'fadump rehearse', with a system of its own\n"
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "remark"),
    [
        ("crashkernel=10G", "remark: crashkernel= is not smaller than RAM: Linux takes its own size of boot memory"),
        (
            "quiet crashkernel=1G",
            "remark: crashkernel= asks for 1 GiB: Linux cuts that to 512 MiB, a quarter of RAM",
        ),
        ("crashkernel=512M", None),
        ("quiet", None),
    ],
)
def test_a_crashkernel_that_linux_does_not_take_as_it_is_is_told(tmp_path, capsys, words, remark):
    assert main(["run", "--memory", "2G", "--cmdline", words, "--out", str(tmp_path / "out")]) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith(remark or "    0.00 s  power on")
