"""A file that begins as a structure is read no further than a structure goes, and within budgets."""

import struct
import tracemalloc

import pytest

from fadump.abi.pseries import register_save_area
from fadump.errors import FormatError, LimitError
from fadump.vmcore.structures import decode_file
from tests.bounded import MIB, bounded


def test_of_a_huge_file_no_more_than_a_device_tree_has_is_read(tmp_path):
    path = tmp_path / "fdt"
    with path.open("wb") as file:
        file.write(bytes.fromhex("d00dfeed") + bytes(36))
        file.truncate(1 << 30)
    tracemalloc.start()
    try:
        with pytest.raises(FormatError):
            decode_file(path)
        assert tracemalloc.get_traced_memory()[1] < 160 << 20
    finally:
        tracemalloc.stop()


def register_area(cpus, entries):
    head = struct.pack(">8sII", b"REGSAVE\0", 0, 0x1C).ljust(0x1C, b"\0") + struct.pack(">I", cpus)
    return head + b"".join(entries)


START, END = struct.pack(">8sQ", b"CPUSTRT", 1), struct.pack(">8sQ", b"CPUEND", 1)
TOO_LARGE = {
    "CPUs in a register save area": register_area(1 << 20, [START + END] * (1 << 20)),
    "entries in a register save area": register_area(
        1, [START, *(struct.pack(">8sQ", b"%08x" % number, 1) for number in range(5000)), END]
    ),
    "regions in MPIPL metadata": struct.pack(">B7xIIII", 1, 0, 0, 0, 1 << 20) + bytes(32 << 20),
}


def sentence(path):
    try:
        decode_file(path)
    except LimitError as error:
        return str(error)
    return None


@pytest.mark.parametrize("what", TOO_LARGE)
def test_a_structure_has_no_more_than_any_machine(tmp_path, monkeypatch, what):
    monkeypatch.setattr(register_save_area, "MOST_SAVED_REGISTERS", 4096)
    path = tmp_path / "structure"
    path.write_bytes(TOO_LARGE[what])
    found = bounded(sentence, path, most_bytes=256 * MIB, most_steps=100_000)
    assert f" {what}, more than the " in found
