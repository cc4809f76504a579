"""The verdict about a dump that a system's own tools have saved: a page of which /proc/vmcore has a part."""

import hashlib
import os
from types import SimpleNamespace

import pytest

from fadump.abi.registers import CpuRegisters
from fadump.firmware.contract import PreservedDump
from fadump.memory.guest import Segment
from fadump.memory.ranges import Range, RangeSet
from fadump.proof.verify import Verifier
from fadump.vmcore.dump import open_dump
from tests.abi.linux.test_crash_info import new_header
from tests.vmcore.core_builder import prstatus
from tests.vmcore.kdump_builder import PAGE_BYTES, Kdump, build_kdump

HEADER = 5 * PAGE_BYTES
HEADER_BYTES = 432
NOTES = 2 * PAGE_BYTES
"""Where the crashed kernel would have its crash_notes: zeros."""
PAGES = 8


@pytest.fixture
def judged(tmp_path):
    """The verdict about a dump of the same memory, which is changed at these addresses, or has more there."""
    ram = bytearray(hashlib.shake_128(b"guest").digest(PAGES * PAGE_BYTES))
    ram[NOTES : NOTES + PAGE_BYTES] = bytes(PAGE_BYTES)
    header = new_header(cpu=0xFFFFFFFF)[:HEADER_BYTES]  # no CPU: the platform has ended the guest
    ram[HEADER : HEADER + HEADER_BYTES] = header
    fd = os.memfd_create("guest")
    os.pwrite(fd, ram, 0)
    segments = [Segment(Range(0, len(ram)), fd, 0)]
    machine = SimpleNamespace(segments=segments, firmware_memory=(), look_at_hash_table=lambda: None)

    def judge(*changed, added=b"", at=NOTES + 0x400, crashing_cpu=None, nip=0x100):
        saved = bytearray(ram)
        saved[HEADER : HEADER + HEADER_BYTES] = bytes(HEADER_BYTES)
        for address in changed:
            saved[address] ^= 0x40
        saved[at : at + len(added)] = added
        pages = {number: bytes(saved[number * PAGE_BYTES :][:PAGE_BYTES]) for number in range(PAGES)}
        (tmp_path / "dump").write_bytes(build_kdump(Kdump(pages, pages=PAGES, notes=prstatus({"nip": nip}))))
        with Verifier() as verifier, open_dump(tmp_path / "dump") as dump:
            verifier.crashed(machine, [CpuRegisters(0, {"NIA": 0x100})], crashing_cpu)
            return verifier.judge_saved(dump, PreservedDump((), b"", RangeSet(), RangeSet(), crash_info=HEADER))

    yield judge
    os.close(fd)


def test_the_crash_info_header_is_not_the_dumps(judged):
    verdict = judged()
    assert verdict.same
    assert verdict.memory.bytes_excluded == HEADER_BYTES
    assert verdict.memory.bytes_compared == PAGES * PAGE_BYTES - HEADER_BYTES
    assert "crash-info header" in verdict.memory.excluded[0].reason


def test_a_crash_before_linux_knew_that_it_had_registered_is_no_difference_and_is_said(judged):
    verdict = judged(crashing_cpu=0)
    assert (verdict.same, verdict.registers) == (True, [])
    assert verdict.remark.startswith("Linux crashed before it had written its crash information, ")
    assert judged().remark is None  # the platform has ended the guest


def test_a_register_that_differs_then_is_found_all_the_same(judged):
    verdict = judged(crashing_cpu=0, nip=0x104)
    assert not verdict.same
    assert verdict.registers == ["CPU 0: NIA is 0x104 in the dump, was 0x100 at the crash"]


@pytest.mark.parametrize("address", [HEADER - 1, HEADER + HEADER_BYTES, HEADER + PAGE_BYTES - 1])
def test_what_lies_around_it_is(judged, address):
    verdict = judged(address)
    assert not verdict.same
    assert verdict.memory.differences == (Range.sized(address, 1),)


def test_a_cpus_note_that_the_tool_has_put_over_zeros_is_left_out_and_said(judged):
    note = prstatus({"nip": 0x100})
    verdict = judged(added=note)
    assert verdict.same
    assert verdict.memory.bytes_compared == PAGES * PAGE_BYTES - HEADER_BYTES - len(note)
    assert verdict.memory.excluded[1].range == Range.sized(NOTES + 0x400, len(note))
    assert "registers" in verdict.memory.excluded[1].reason


@pytest.mark.parametrize(
    ("note", "at"),
    [
        (prstatus({"nip": 0x104}), NOTES + 0x400),  # of no CPU
        (prstatus({"nip": 0x100})[:0x184], NOTES + 0x400),  # cut short
        (prstatus({"nip": 0x100}), 0x400),  # over what was no zeros
    ],
)
def test_anything_else_there_is_different(judged, note, at):
    assert not judged(added=note, at=at).same
