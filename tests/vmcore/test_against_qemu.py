"""QEMU writes dumps of its own guest: somebody else's ELF core and kdump file, of memory that can be seen from outside.

Debian's QEMU writes kdump files with zlib only; it is built without LZO and snappy.
"""

import hashlib
import json
import os
import subprocess

import pytest

from fadump.abi.elf import EM_PPC64
from fadump.memory.guest import Segment
from fadump.memory.ranges import Range
from fadump.proof.compare import compare
from fadump.proof.crash_image import CrashImage
from fadump.vmcore.check import check_dump
from fadump.vmcore.contract import Kind
from fadump.vmcore.dump import open_dump
from fadump.vmcore.elfcore import ElfCore
from fadump.vmcore.notes import decode_prstatus

RAM = Range(0, 256 << 20)
WRITTEN = Range.sized(0x400_4321, 3 << 20)
MACHINE = ["qemu-system-ppc64", "-machine", "pseries,memory-backend=ram", "-cpu", "POWER9", "-smp", "2", "-m", "256M"]
QUIET = ["-nodefaults", "-display", "none", "-S", "-qmp", "stdio"]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Guest RAM and QEMU's dumps of it; the guest has not run yet, so RAM is what we and QEMU's loader wrote."""
    directory = tmp_path_factory.mktemp("qemu")
    ram = directory / "ram"
    with ram.open("wb") as file:
        os.truncate(ram, RAM.size_bytes)
        os.pwrite(file.fileno(), hashlib.shake_128(b"guest").digest(WRITTEN.size_bytes), WRITTEN.start)
        os.pwrite(file.fileno(), b"one line and again\n" * 50_000, WRITTEN.end)
    backend = f"memory-backend-file,id=ram,size=256M,mem-path={ram},share=on"
    requests = [{"execute": "qmp_capabilities"}]
    for format_ in ("elf", "kdump-zlib"):
        where = {"paging": False, "protocol": f"file:{directory / format_}", "format": format_}
        requests.append({"execute": "dump-guest-memory", "arguments": where})
    requests.append({"execute": "quit"})
    command = [*MACHINE, "-object", backend, *QUIET]
    lines = "".join(json.dumps(request) + "\n" for request in requests)
    done = subprocess.run(command, input=lines, capture_output=True, text=True, timeout=120, check=True)
    assert '"error"' not in done.stdout
    return ram, directory / "elf"


def test_its_kdump_file_is_flattened_and_equals_its_memory(files):
    ram, core_path = files
    with open_dump(core_path.with_name("kdump-zlib")) as dump:
        assert (dump.kind, dump.flattened, dump.byte_order) == (Kind.KDUMP, True, "big")
        assert dump.machine == "Unknown"  # what QEMU calls ppc64 here
        assert list(dump.memory) == [RAM] and dump.damage == []
        step_bytes = 16 << 20
        with ram.open("rb") as file:
            for start in range(0, RAM.end, step_bytes):
                assert dump.read_physical(start, step_bytes) == file.read(step_bytes)
        assert check_dump(dump).whole


def test_its_dump_is_read_and_equals_its_memory(files):
    ram, core_path = files
    fd = os.open(ram, os.O_RDWR)
    with CrashImage.take([Segment(RAM, fd, 0)], []) as image, ElfCore.open(core_path) as core:
        assert (core.machine, core.byte_order) == (EM_PPC64, "big")
        result = compare(core, image)
        assert (result.bytes_compared, result.bytes_different) == (RAM.size_bytes, 0)
        assert core.read_physical(WRITTEN.start - 1, 9)[1:] == hashlib.shake_128(b"guest").digest(8)
        registers = [decode_prstatus(note, core.byte_order).registers for note in core.notes if note.is_prstatus()]
    os.close(fd)
    assert [cpu["nip"] for cpu in registers] == [0x100, 0x100]


def test_a_byte_that_changes_afterwards_is_found(files):
    ram, core_path = files
    fd = os.open(ram, os.O_RDWR)
    at = WRITTEN.end - 1
    byte = os.pread(fd, 1, at)
    os.pwrite(fd, bytes([byte[0] ^ 1]), at)
    with CrashImage.take([Segment(RAM, fd, 0)], []) as image, ElfCore.open(core_path) as core:
        result = compare(core, image)
    os.pwrite(fd, byte, at)
    os.close(fd)
    assert (result.bytes_different, result.differences) == (1, (Range.sized(at, 1),))
