"""``fadump show`` of the structures that firmware and kernels leave for each other."""

import contextlib
import json
import os
import re
import struct
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fadump.abi.linux import crash_info
from fadump.abi.linux.pt_regs import REGISTER_NAMES
from fadump.abi.powernv.kernel_metadata import KernelMetadata
from fadump.abi.powernv.mpipl import MpiplMetadata, MpiplRegion
from fadump.abi.pseries import register_save_area
from fadump.abi.pseries.dump_structure import DumpSection, DumpStatus, DumpStructure, SectionError, SectionType
from fadump.abi.registers import CpuRegisters
from fadump.cli import main, show
from fadump.errors import FadumpError
from fadump.memory.devicetree import DeviceTree, Node, encode_cells, encode_strings
from fadump.memory.ranges import Range
from fadump.vmcore.structures import decode_file


@pytest.fixture
def run(run_command):
    return partial(run_command, show)


STRUCTURE = DumpStructure(
    status=DumpStatus.PERFORMED | DumpStatus.TRIGGERED,
    sections=(
        DumpSection(1, SectionType.REAL_MODE_REGION, SectionError(0), 0, 0x2000, 0x2000, 0x10000),
        DumpSection(1, 0x123, SectionError.INVALID_SOURCE, 0x5000, 0x2000, 0, 0x20000),
    ),
)


def test_a_dump_memory_structure(run):
    status, out, _err = run(STRUCTURE.encode())
    assert status == 0
    assert "real mode region: 0x2000 of 0x2000 bytes from 0x0 to 0x10000\n" in out
    assert out.startswith("Dump memory structure, version 1, status 0xc000 (performed, triggered)\n")
    assert "type 0x123: 0x0 of 0x2000 bytes" in out and out.endswith(", error flags 0x4000 (invalid source)\n")
    found = json.loads(run(STRUCTURE.encode(), "--json")[1])
    assert found["kind"] == "dump memory structure"
    assert [section["destination"] for section in found["sections"]] == [0x10000, 0x20000]


def test_a_register_save_area(run):
    area = register_save_area.encode([CpuRegisters(3, {"NIA": 0x1234, "GPR01": 5})], 0x100)
    _status, out, _err = run(area)
    assert "CPU 3\n" in out and "NIA 0000000000001234" in out
    assert json.loads(run(area, "--json")[1])["cpus"] == [{"number": 3, "registers": {"NIA": 0x1234, "GPR01": 5}}]


ENTRIES = struct.pack(">QQ", 0x4000_0000_0000_0095, 0x8000_0000_1234_0196)
"""A segment of 1 TiB, AVPN 1, bolted, large, valid; protection 6, coherent, changed, referenced, not executable."""


def test_a_hash_page_table(run):
    table = (bytes(16) * 9 + ENTRIES).ljust(256, b"\0")
    status, out, _err = run(table)
    assert status == 0
    assert out == (
        "Hash page table, 1 of 16 entries valid\n"
        "  1.1: AVPN 0x1, segment of 2^40, 0x15 (valid, large, bolted); real page 0x12340000, protection 6, "
        "0x194 (no execute, coherent, changed, referenced)\n"
    )
    assert json.loads(run(table, "--json")[1]) == {
        "result": "done",
        "kind": "hash page table",
        "bytes": 256,
        "entries": [
            {
                "index": 9,
                "avpn": 1,
                "segment_bits": 40,
                "flags": 0x15,
                "real_page": 0x1234_0000,
                "protection": 6,
                "access": 0x194,
            }
        ],
    }


def test_the_beginning_of_a_hash_page_table_may_have_no_valid_entry(run):
    assert run(bytes(4096))[:2] == (0, "Hash page table, 0 of 256 entries valid\n")


@pytest.mark.parametrize(
    "data",
    [
        bytes((1 << 20) + 128),
        b"",
        ENTRIES * 7,
        (ENTRIES + struct.pack(">QQ", 0, 0x1000)).ljust(256, b"\0"),
        struct.pack(">QQ", 0x8000_0000_0000_0001, 0).ljust(256, b"\0"),
    ],
    ids=[
        "too many zeros",
        "nothing",
        "half a group",
        "an entry that is not valid but has something",
        "no segment has that size",
    ],
)
def test_what_is_no_hash_page_table(run, data):
    status, _out, err = run(data)
    assert status == 1 and "hash page table" not in err


@pytest.mark.parametrize("byte_order", ["little", "big"])
def test_a_crash_info_header(run, byte_order):
    words = [crash_info.OLD_MAGIC, 0, 2 if byte_order == "little" else 2 << 32, *range(100, 100 + len(REGISTER_NAMES))]
    header = b"".join(word.to_bytes(8, byte_order) for word in words)
    _status, out, _err = run(header)
    assert "crashed on CPU 2" in out and "nip 0000000000000084" in out
    assert json.loads(run(header, "--json")[1])["crashing_cpu"] == 2


REGION = MpiplRegion(0x1000, 0x8000, 0x200)


def test_mpipl_metadata(run):
    metadata = MpiplMetadata(crashing_pir=0x28, cpu_data_version=1, cpu_data_bytes=0x800, regions=(REGION,)).encode()
    _status, out, _err = run(metadata)
    assert "crashing PIR 0x28" in out and "0x200 bytes from 0x1000 to 0x8000" in out
    found = json.loads(run(metadata, "--json")[1])
    assert (found["kind"], found["cpu_data_bytes"]) == ("MPIPL metadata", 0x800)
    assert found["regions"] == [{"source": 0x1000, "destination": 0x8000, "size_bytes": 0x200}]


def test_the_kernels_own_metadata(run):
    metadata = KernelMetadata(registered_regions=1, crash_info=0x9000, regions=(REGION,)).encode()
    _status, out, _err = run(metadata)
    assert "1 of 1 regions registered" in out and "crash-info header at 0x9000" in out
    found = json.loads(run(metadata, "--json")[1])
    assert (found["kind"], found["crash_info"], len(found["regions"])) == ("kernel metadata", 0x9000, 1)


def test_a_device_tree(run):
    node = Node(
        "rtas", {"ibm,os-term": encode_cells(0x201F), "empty": b"", "odd": b"\1\2\3", "long": bytes(100) + b"\1"}
    )
    root = Node("", {"compatible": encode_strings("ibm,pseries", "qemu")}, [node])
    tree = DeviceTree(root, [Range(0x1000, 0x2000)]).encode()
    _status, out, _err = run(tree)
    assert out.splitlines() == [
        "Flattened device tree",
        "  reserved 0x1000..0x2000",
        "/",
        '  compatible = "ibm,pseries", "qemu"',
        "  rtas",
        "    ibm,os-term = <0000201f>",
        "    empty",
        "    odd = [01 02 03]",
        "    long = 101 bytes",
    ]
    found = json.loads(run(tree, "--json")[1])
    assert found["root"]["/rtas"]["ibm,os-term"] == "0000201f"


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FadumpError, match="pipe is neither a file nor a disk"):
        decode_file(tmp_path / "pipe")


@pytest.mark.parametrize("data", [b"\xd0\r\xfe\xed" + bytes(99), b"REGSAVE\0", b"FADMPSIG", b"\1".ljust(20, b"\0")])
def test_a_structure_cut_short_is_named(run, data):
    status, _out, err = run(data)
    assert status == 1
    assert re.match(r"fadump: /.*/file: ", err)


def test_a_file_that_the_system_can_not_read_is_named(capsys):
    for file in ("/proc/version", "/proc/self/mem"):  # neither has a size, the second nothing to read at its start
        for command in ("show", "dmesg"):
            assert main([command, file]) == 1
            assert capsys.readouterr().err.startswith(f"fadump: {file}")


def test_what_is_none_of_these_is_an_error(run):
    status, _out, err = run(b"something else" * 100)
    assert status == 1
    assert "not a dump file" in err


@given(
    st.sampled_from(
        ["d00dfeed", "52454753415645 00", "4641444d50534947", "464e49504d444146", "0100000000000000", "01000000"]
    ),
    st.binary(max_size=200),
)
def test_the_start_of_a_structure_is_no_structure_yet(tmp_path_factory, magic, rest):
    path = tmp_path_factory.getbasetemp() / "structure"
    path.write_bytes(bytes.fromhex(magic) + rest)
    with contextlib.suppress(FadumpError):
        assert decode_file(path) is not None
