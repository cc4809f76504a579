"""The verdict about a dump of kdump's: its memory, and no register."""

import os
from types import SimpleNamespace

import pytest

from fadump.errors import MachineError
from fadump.machine.contract import FirmwareMemory
from fadump.memory.guest import Segment
from fadump.memory.ranges import Range, RangeSet
from fadump.proof.verify import Verifier
from tests.vmcore.core_builder import Load, build_core, prstatus

RAM = bytes(range(256)) * 32
CRASH_KERNEL = Range(0x800, 0xC00)


@pytest.fixture
def judge(tmp_path):
    """Judges a dump of the memory around the crash kernel's, changed at these addresses."""
    fd = os.memfd_create("guest")
    os.pwrite(fd, RAM, 0)

    def judge(*changed, firmware=()):
        saved = bytearray(RAM)
        for address in changed:
            saved[address] ^= 0x40
        loads = [Load(0, bytes(saved[: CRASH_KERNEL.start])), Load(CRASH_KERNEL.end, bytes(saved[CRASH_KERNEL.end :]))]
        (tmp_path / "vmcore").write_bytes(build_core(loads, [prstatus({"nip": 0x100})]))
        with Verifier() as verifier:
            segments = [Segment(Range(0, len(RAM)), fd, 0)]
            machine = SimpleNamespace(segments=segments, firmware_memory=firmware, look_at_hash_table=lambda: None)
            verifier.crashed(machine, (), None)
            return verifier.judge_kdump(tmp_path / "vmcore")

    yield judge
    os.close(fd)


def test_all_memory_of_the_dump_is_compared_and_no_register(judge):
    verdict = judge()
    assert (verdict.same, verdict.registers) == (True, None)
    assert verdict.memory.bytes_compared == len(RAM) - CRASH_KERNEL.size_bytes
    assert verdict.memory.not_in_dump == RangeSet([CRASH_KERNEL])


@pytest.mark.parametrize("address", [0, 0x7FF, 0xC00, len(RAM) - 1])
def test_a_byte_that_differs_is_found(judge, address):
    verdict = judge(address)
    assert not verdict.same
    assert (verdict.memory.bytes_different, verdict.memory.differences) == (1, (Range.sized(address, 1),))


def test_memory_that_firmware_goes_on_using_is_left_out(judge):
    verdict = judge(0x300, firmware=[FirmwareMemory(Range(0x200, 0x400), "ibm,firmware")])
    assert (verdict.same, verdict.memory.bytes_excluded) == (True, 0x200)


def test_without_a_crash_kernel_that_was_seen_there_is_no_verdict(tmp_path):
    with Verifier() as verifier, pytest.raises(MachineError, match="no crash to compare the dump with"):
        verifier.judge_kdump(tmp_path / "vmcore")
