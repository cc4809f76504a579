"""A kernel that dies of an Oops: its own sysrq handler is patched to read what isn't there."""

import json
import struct
import subprocess

import pytest

import fadump
from fadump.linux.vmcoreinfo import Facts
from fadump.linux.vmlinux.symbols import read_vmlinux
from tests.real_linux.conftest import good_run
from tests.real_linux.fadump_command import COMMAND

ENTRY_BYTES = 8
"""The two instructions by which a function finds its TOC."""
LI_R9_0, LD_R9_AT_0X18 = 0x3920_0000, 0xE929_0018


@pytest.fixture(scope="module")
def oops(tmp_path_factory, kernel):
    out = tmp_path_factory.mktemp("oops")
    address = read_vmlinux(kernel.vmlinux, Facts(b"")).address("sysrq_handle_crash")
    image = bytearray(kernel.bootable.read_bytes())
    struct.pack_into("<II", image, file_offset(image, address) + ENTRY_BYTES, LI_R9_0, LD_R9_AT_0X18)
    (out / "vmlinux").write_bytes(image)
    return good_run(out, "--kernel", str(out / "vmlinux"), "--cmdline", "oops=panic")


def file_offset(image, address):
    (table,) = struct.unpack_from("<Q", image, 0x20)
    (count,) = struct.unpack_from("<H", image, 0x38)
    for at in range(table, table + 56 * count, 56):
        type_, offset, virtual, _physical, size = struct.unpack_from("<I4xQQQQ", image, at)
        if type_ == 1 and virtual <= address < virtual + size:
            return offset + address - virtual
    raise AssertionError(f"{address:#x} is in no segment")


def test_what_it_died_of_is_shown(oops):
    shown = subprocess.run([*COMMAND, "show", oops.json["vmcore"]], capture_output=True, text=True, check=True).stdout
    assert "Panic    none: a bad data access led straight to the dump\n" in shown
    assert "Cause    BUG: Kernel NULL pointer dereference on read at 0x00000018\n" in shown
    assert "Task     sh, PID " in shown
    assert "  interrupt 0x300  DAR 0000000000000018  DSISR 40000000\n" in shown


def test_the_backtrace_has_who_called_the_function_that_died(oops):
    """Without a frame of its own, it has its return address in LR only. Linux itself has said the same."""
    with fadump.open(oops.json["vmcore"]) as system:
        (crashed,) = (cpu for cpu in system.cpus if cpu.crashed)
        log = [record.text for record in system.log()]
    died, called, *others = crashed.backtrace.frames
    assert f"NIP [{died.pc:016x}] {died.symbol}" in log
    assert f"LR [{called.pc:016x}] {called.symbol}" in log
    assert [frame.symbol.name for frame in (died, called, others[0])] == [
        "sysrq_handle_crash",
        "__handle_sysrq",
        "write_sysrq_trigger",
    ]


def test_the_same_as_json(oops):
    done = subprocess.run([*COMMAND, "show", "--json", oops.json["vmcore"]], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["panic"] is None and found["cause"].endswith("at 0x00000018") and found["task"]["name"] == "sh"


def test_a_report_blames_the_function_that_died(oops):
    words = [*COMMAND, "report", "--json", oops.json["vmcore"]]
    found = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    assert found["what"] == "The kernel followed a pointer that was NULL"
    assert (found["blame"], found["certainty"]) == ("sysrq_handle_crash()", "likely")
    assert "while sh (PID " in found["where"]
