"""The guest channel (docs/guest-channel.md) with real Linux, as far as it goes without our firmware."""

import base64
import gzip
import io
import random
import re
import struct

import pytest

from fadump.kit.initramfs import build_initramfs
from fadump.kit.newc import NewcWriter
from tests.real_linux.guest import PANIC, Guest

MIB = 1 << 20
ELF_HEADER_AT = 0x3000_0000
NOTES_AT = 0x3001_0000
MEMORY_AT = 0x3100_0000
MEMORY_BYTES = 20 * MIB + 0x10000


@pytest.fixture(scope="module")
def bootable(kernel):
    """The default kernel's file."""
    return str(kernel.bootable)


@pytest.fixture
def initrd():
    """Our initramfs."""
    return str(build_initramfs())


@pytest.fixture
def two_archives(tmp_path):
    """Ours after another one, which is compressed and of an odd length."""
    stream = io.BytesIO()
    writer = NewcWriter(stream)
    writer.add_directory("theirs")
    writer.add_file("theirs/motd", b"hello from the other one")
    writer.close()
    compressed = gzip.compress(stream.getvalue(), mtime=0)
    (tmp_path / "theirs.img").write_bytes(compressed + bytes(5 - len(compressed) % 4))
    return str(build_initramfs(tmp_path / "theirs.img"))


def disk(directory, name, size_bytes):
    """Options for a virtio disk, and its file."""
    path = directory / name
    with path.open("wb") as file:
        file.truncate(size_bytes)
    drive = f"if=none,id={name},file={path},format=raw"
    return path, ["-drive", drive, "-device", f"virtio-blk-pci,drive={name}"]


def core_of_memory(directory):
    """Options for a guest that finds an ELF core's header in its memory, as after a kexec; and what the core holds."""
    memory = random.Random(1).randbytes(MEMORY_BYTES)  # noqa: S311
    notes = struct.pack("<III8s", 5, 336, 1, b"CORE") + bytes(336)
    header = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 4, 21, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    header += struct.pack("<IIQQQQQQ", 4, 0, NOTES_AT, 0, NOTES_AT, len(notes), len(notes), 4)
    virtual = 0xC000_0000_0000_0000 | MEMORY_AT
    header += struct.pack("<IIQQQQQQ", 1, 7, MEMORY_AT, virtual, MEMORY_AT, MEMORY_BYTES, MEMORY_BYTES, 0)
    (directory / "header").write_bytes(header.ljust(NOTES_AT - ELF_HEADER_AT, b"\0") + notes)
    (directory / "memory").write_bytes(memory)
    options = []
    for name, address in (("header", ELF_HEADER_AT), ("memory", MEMORY_AT)):
        options += ["-device", f"loader,file={directory / name},addr={address:#x},force-raw=on"]
    return memory, options


def test_what_a_first_boot_without_our_firmware_answers(tmp_path, bootable, two_archives, kernel):
    with Guest(tmp_path, bootable, two_archives) as guest:
        assert re.fullmatch(
            rf"hello protocol=1 mode=first release={re.escape(kernel.release)} cpus=2 "
            r"memory_kb=10\d{5} page_size=65536 fadump_enabled=absent fadump_registered=absent opalcore=absent "
            r"crash_size=0",
            guest.line(),
        )
        for step in ("register", "unregister", "reregister"):
            answer = guest.ask(step)
            assert answer.startswith(f"failed step={step} reason=this kernel has no /sys/kernel/fadump/registered")
        assert guest.ask("release").startswith("failed step=release reason=there is no /sys/kernel/fadump/release_mem")
        assert guest.ask("save").startswith("failed step=save reason=this boot has no /proc/vmcore")
        assert guest.ask("save_opalcore").startswith("failed step=save_opalcore reason=this boot has no /sys/firmware/")
        assert guest.ask("crash cpu=9").startswith("failed step=crash reason=CPU 9 can't be used: ")
        assert guest.ask("sing loud=1") == "failed step=sing reason=unknown command"

        theirs = base64.b64encode(b"hello from the other one").decode()
        assert guest.ask("read path=/theirs/motd") == f"file path=/theirs/motd base64={theirs}"
        assert guest.ask("read path=/dev/null") == "failed step=read reason=/dev/null is not a regular file"
        assert guest.ask("read path=/fadump/busybox").endswith("has more than 65536 bytes")
        assert guest.ask("read path=/a b").startswith("failed step=read reason=a path with a space")

        assert guest.run("echo out; echo err >&2; cat; exit 3") == (3, b"out\nerr\n")
        assert guest.run("head -c 70000 /dev/zero") == (0, bytes(65536))
        assert guest.run("sleep 1000 & echo started") == (0, b"started\n")
        assert guest.ask("run b64=%%%") == "failed step=run reason=the command is not in base64"

        assert guest.ask("poweroff") == "bye"
        assert guest.end() == 0
        assert "fadump-guest: first boot, serving /dev/vport" in guest.log()


def test_a_crash_is_on_the_cpu_that_was_asked_for(tmp_path, bootable, initrd):
    with Guest(tmp_path, bootable, initrd) as guest:
        guest.line()
        assert guest.ask("crash cpu=1") == "crashing cpu=1"
        guest.end()
        assert f"{PANIC} - not syncing: sysrq triggered crash" in guest.log()
        assert "CPU: 1 " in guest.log()


def test_a_vmcore_is_saved_whole(tmp_path, bootable, initrd):
    memory, core = core_of_memory(tmp_path)
    path, drive = disk(tmp_path, "dump", 32 * MIB)
    with Guest(tmp_path, bootable, initrd, *core, *drive, cmdline=f"mem=512M elfcorehdr={ELF_HEADER_AT:#x}") as guest:
        guest.line()
        lines = [guest.ask("save")]
        size_bytes = int(lines[0].removeprefix("saving bytes="))
        while not lines[-1].startswith(("saved", "failed")):
            lines.append(guest.line())
        assert lines[-1] == f"saved bytes={size_bytes}"
        assert all(line.startswith("progress bytes=") for line in lines[1:-1])
        guest.ask("poweroff")
        assert guest.end() == 0
    saved = path.read_bytes()[:size_bytes]
    assert saved[:4] == b"\x7fELF"
    (offset,) = struct.unpack_from("<Q", saved, 64 + 56 + 8)  # of the second program header
    assert saved[offset : offset + MEMORY_BYTES] == memory


@pytest.mark.parametrize(
    ("sizes", "reason"),
    [([8 * MIB], "the disk /dev/vda only 8388608"), ([MIB, MIB], "there must be exactly one virtio disk")],
    ids=["too small", "two disks"],
)
def test_a_vmcore_that_has_no_place_is_not_saved(tmp_path, bootable, initrd, sizes, reason):
    _memory, core = core_of_memory(tmp_path)
    drives = [option for i, size in enumerate(sizes) for option in disk(tmp_path, f"disk{i}", size)[1]]
    with Guest(tmp_path, bootable, initrd, *core, *drives, cmdline=f"mem=512M elfcorehdr={ELF_HEADER_AT:#x}") as guest:
        guest.line()
        answer = guest.ask("save")
        assert answer.startswith("failed step=save reason=")
        assert reason in answer


def test_without_a_port_the_guest_says_so_and_halts(tmp_path, bootable, initrd):
    with Guest(tmp_path, bootable, initrd, port="org.example.other") as guest:
        assert guest.end() == 0
        assert "\nfadump-guest: no virtio-serial port named org.fadump.guest" in guest.log().replace("\r", "")
