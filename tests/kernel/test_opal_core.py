"""OPAL's core: what Linux makes of the firmware's metadata, right and wrong."""

import os
import struct
from dataclasses import replace

import pytest

from fadump.abi.platform import Platform
from fadump.abi.powernv import cpu_data
from fadump.abi.powernv.mpipl import MpiplMetadata, MpiplRegion, MpiplTag
from fadump.abi.powernv.opal import OpalStatus
from fadump.abi.registers import CpuRegisters
from fadump.kernel.calls import Errno, KernelPanicError
from fadump.kernel.model import KernelConfig, KernelModel
from fadump.kernel.opal_core import CORE, RELEASE_CORE, OpalCore
from fadump.kernel.state import TAG_VALUE
from fadump.memory.ranges import Range
from fadump.vmcore.elfcore import ElfCore
from fadump.vmcore.notes import decode_prstatus
from tests.kernel.running import GIB, described_tree, guest_memory, run

OPAL, CPUS, DATA, COPY = 0x4000_0000, 0x4000_1000, 0x4001_0000, 0x5000_0000
SIZE = 0x2_0000
PIRS = (0, 4, 8)
ONLINE = [CpuRegisters(pir, {"GPR01": 0x100 + pir, "NIA": 0x2000 + pir}) for pir in (0, 4)]
THREADS = cpu_data.encode(ONLINE, PIRS)
GOOD = {
    MpiplTag.OPAL: MpiplMetadata(crashing_pir=4, regions=(MpiplRegion(0x3000_0000, COPY, SIZE),)),
    MpiplTag.CPU: MpiplMetadata(
        cpu_data_version=1,
        cpu_data_bytes=cpu_data.THREAD_BYTES,
        regions=(MpiplRegion(0, DATA, len(THREADS)),),
    ),
}


class Guest:
    """A kernel that has booted, and its answers to the questions for tags."""

    def __init__(self, memory, *, kernel_initiated=True, metadata=GOOD, addresses=(OPAL, CPUS), status=0):
        self.lines = []
        self.memory = memory
        kernel = KernelModel(KernelConfig(), self.lines.append)
        tree = described_tree(Platform.POWERNV)
        run(kernel.boot(tree, memory), memory)
        self.state = kernel._state
        places = dict(zip((MpiplTag.OPAL, MpiplTag.CPU), addresses, strict=True))
        for tag, data in metadata.items():
            memory.write(places[tag] or OPAL, data.encode())
        memory.write(DATA, THREADS)
        memory.write(COPY, b"opal" * (SIZE // 4))
        tree.find("/ibm,opal/dump").properties["mpipl-boot"] = b""
        self.core = OpalCore(self.state)
        steps = self.core.init(tree, kernel_initiated=kernel_initiated)
        try:
            call = next(steps)
            while True:
                memory.write(TAG_VALUE, struct.pack(">Q", places[MpiplTag(call.args[0])]))
                call = steps.send(status)
        except StopIteration:
            self.died_of = None
        except KernelPanicError as error:
            self.died_of = str(error)

    @property
    def log(self):
        return "".join(self.lines)

    def read(self):
        file = self.core.entries()[CORE]
        fd = os.memfd_create("opalcore")
        os.write(fd, file.read_at(0, file.size_bytes))
        return ElfCore(fd)

    def release(self, data):
        _calls, result = run(self.core.entries()[RELEASE_CORE].store(data), self.memory)
        return result


@pytest.fixture
def memory():
    with guest_memory(Range(0, 4 * GIB)) as memory:
        yield memory


@pytest.mark.parametrize(("kernel_initiated", "signal"), [(True, 10), (False, 15)])
def test_the_crashing_thread_comes_first_and_inactive_ones_not_at_all(memory, kernel_initiated, signal):
    with Guest(memory, kernel_initiated=kernel_initiated).read() as core:
        assert (core.byte_order, len(core.segments)) == ("big", 1)
        notes = [note for note in core.notes if note.is_prstatus() and any(note.desc)]
        registers = [decode_prstatus(note, "big").registers for note in notes]
        assert [found["nip"] for found in registers] == [0x2004, 0x2000]
        words = [struct.unpack_from(">H18xII", note.desc, 12) for note in notes]
        assert words == [(signal, 104, 1), (0, 100, 1)]


def test_memory_stands_where_opal_was(memory):
    with Guest(memory).read() as core:
        (segment,) = core.segments
        assert (segment.virtual_address, segment.physical) == (0x3000_0000, Range(0, SIZE))
        assert core.read_physical(0, SIZE) == b"opal" * (SIZE // 4)


def test_a_thread_that_is_said_to_have_crashed_and_is_not_there_leaves_zeros(memory):
    metadata = GOOD | {MpiplTag.OPAL: replace(GOOD[MpiplTag.OPAL], crashing_pir=99)}
    with Guest(memory, metadata=metadata).read() as core:
        first, *others = [note for note in core.notes if note.is_prstatus()]
        assert not any(first.desc) and len(others) == 2


def test_release_core_takes_a_1_and_only_once(memory):
    guest = Guest(memory)
    assert guest.core.buffer_bytes > 0
    assert [guest.release(data) for data in (b"0", b"x", b"1\n", b"1")] == [Errno.EINVAL, Errno.EINVAL, 2, Errno.EPERM]
    assert guest.core.buffer_bytes == 0 and CORE not in guest.core.entries()
    assert "opal core: '/sys/firmware/opal/core' file not accessible!" in guest.log


@pytest.mark.parametrize("status", [OpalStatus.PARAMETER, OpalStatus.HARDWARE])
def test_a_tag_that_cannot_be_had_leaves_no_core(memory, status):
    guest = Guest(memory, status=status)
    assert f"opal core: Failed to get OPAL metadata ({int(status)})" in guest.log
    assert "opal core: Could not export /sys/firmware/opal/core" in guest.log
    assert guest.core.entries() == {}


def changed(tag, **fields):
    return GOOD | {tag: replace(GOOD[tag], **fields)}


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        (changed(MpiplTag.OPAL, regions=()), "OPAL memory regions not found"),
        (changed(MpiplTag.OPAL, regions=(MpiplRegion(0, 1 << 60, 8),)), "CPU state data is invalid."),
        (changed(MpiplTag.CPU, regions=()), "CPU state data not found!"),
        (changed(MpiplTag.CPU, regions=(MpiplRegion(0, 0, 8),)), "CPU state data not found!"),
        (changed(MpiplTag.CPU, cpu_data_bytes=0), "CPU state data is invalid."),
        (changed(MpiplTag.CPU, cpu_data_bytes=1 << 20), "CPU state data is invalid."),
        (changed(MpiplTag.CPU, regions=(MpiplRegion(0, 1 << 60, len(THREADS)),)), "CPU state data is invalid."),
        (changed(MpiplTag.CPU, regions=(MpiplRegion(0, DATA, 3 * GIB - DATA),)), "CPU state data is invalid."),
        (
            changed(MpiplTag.CPU, regions=(MpiplRegion(0, DATA, 65_537 * cpu_data.THREAD_BYTES),)),
            "CPU state data is invalid.",
        ),
    ],
)
def test_linux_dies_of_metadata_that_make_no_sense(memory, metadata, said):
    """As QEMU shows: opalcore_cleanup() removes a file from a directory that has not been made yet."""
    guest = Guest(memory, metadata=metadata)
    assert guest.died_of == "BUG: Kernel NULL pointer dereference at 0x00000030"
    assert f"opal core: {said}\n" in guest.log and guest.core.file is None


@pytest.mark.parametrize("addresses", [(0, CPUS), (OPAL, 0), (1 << 60, CPUS)])
def test_metadata_that_are_nowhere_leave_no_core(memory, addresses):
    metadata = {} if addresses[0] >= 1 << 60 else GOOD
    guest = Guest(memory, metadata=metadata, addresses=addresses)
    assert "opal core: Could not export" in guest.log and guest.core.file is None


def test_later_versions_and_more_regions_are_warned_of(memory):
    regions = tuple(MpiplRegion(0, COPY, 0x1000) for _ in range(9))
    guest = Guest(memory, metadata=changed(MpiplTag.OPAL, version=2, regions=regions) | {
        MpiplTag.CPU: replace(GOOD[MpiplTag.CPU], cpu_data_version=2)
    })  # fmt: skip
    assert "opal core: WARNING: F/W using newer OPAL metadata format!!" in guest.log
    assert "opal core: WARNING: OPAL regions count (9) adjusted to limit (8)" in guest.log
    assert "opal core: WARNING: F/W using newer CPU state data format!!" in guest.log
    with guest.read() as core:
        assert len(core.segments) == 8
