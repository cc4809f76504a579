"""Preserving boot memory: ``PseriesFirmware.preserve()`` against a bare memmove of the same bytes.

Both copy between pages of one memfd, from and to the same addresses, in the same fault state: what the guest has
touched is in the file and not in our page tables, as after a boot; a destination that it hasn't touched is a hole.
The baseline is told where the source is populated: it is libc's memmove for each such extent and, where a populated
destination stands opposite a hole, libc's memset.
"""

import ctypes
import mmap
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.guest import guest_memory, populate
from benchmarks.report import MIB, RUNS, median, parser, show, timed
from fadump.abi.pseries import rtas
from fadump.abi.pseries.dump_structure import REQUEST_COPY, DumpSection, DumpStructure, SectionError, SectionType
from fadump.abi.registers import CpuRegisters
from fadump.errors import FadumpError
from fadump.firmware.contract import FirmwareCall, Trigger, TriggerKind
from fadump.firmware.pseries import PseriesFirmware
from fadump.memory.devicetree import DeviceTree, Node, encode_cells
from fadump.memory.guest import GuestMemory
from fadump.memory.ranges import Range, RangeSet

_WORK_BUFFER = 0x1000
_SLACK_BYTES = MIB
"""Behind the copy, for the CPU state."""
CASES = [(percent, destination) for percent in (10, 100) for destination in (0, 100)]


def main() -> None:
    arguments = parser(__doc__.partition("\n")[0])
    arguments.add_argument("--mib", type=int, nargs="+", default=[512, 1024, 2048], help="sizes of boot memory")
    arguments.add_argument("--runs", type=int, default=RUNS)
    options = arguments.parse_args()
    rows = [row(mib, *case, options.runs) for mib in options.mib for case in CASES]
    show("preserve", rows, as_json=options.json)


def row(mib: int, source_percent: int, destination_percent: int, runs: int) -> dict[str, object]:
    """One line: both sides measured in turn, each time in fresh memory."""
    size_bytes = mib * MIB

    def firmware() -> float:
        return firmware_seconds(size_bytes, source_percent, destination_percent)

    def baseline() -> float:
        return memmove_seconds(size_bytes, source_percent, destination_percent)

    firmware_median, baseline_median = median(firmware, runs), median(baseline, runs)
    return {
        "boot memory MiB": mib,
        "populated %": source_percent,
        "destination %": destination_percent,
        "preserve s": firmware_median,
        "memmove s": baseline_median,
        "of memmove %": round(100 * baseline_median / firmware_median),
    }


def firmware_seconds(size_bytes: int, source_percent: int, destination_percent: int) -> float:
    """What preserve() takes, its registration made before."""
    with _prepared(size_bytes, source_percent, destination_percent) as (memory, _fd):
        firmware = _registered(memory, size_bytes)
        cpus = [CpuRegisters(0, {"NIA": 1})]
        trigger = Trigger(TriggerKind.OS_TERM, "", 0)
        return timed(lambda: firmware.preserve(trigger, memory, cpus))


def memmove_seconds(size_bytes: int, source_percent: int, destination_percent: int) -> float:
    """What memmove and memset take for the same result, in a mapping as fresh as the firmware's."""
    with (
        _prepared(size_bytes, source_percent, destination_percent) as (memory, fd),
        mmap.mmap(fd, 2 * size_bytes) as mapping,
    ):
        extents = memory.populated(Range(0, size_bytes))
        stale = memory.populated(Range(size_bytes, 2 * size_bytes)) - RangeSet(
            Range(extent.start + size_bytes, extent.end + size_bytes) for extent in extents
        )
        anchor = ctypes.c_char.from_buffer(mapping)
        base = ctypes.addressof(anchor)

        def move() -> None:
            for extent in extents:
                ctypes.memmove(base + size_bytes + extent.start, base + extent.start, extent.size_bytes)
            for piece in stale:
                ctypes.memset(base + piece.start, 0, piece.size_bytes)

        seconds = timed(move)
        del anchor
        return seconds


@contextmanager
def _prepared(size_bytes: int, source_percent: int, destination_percent: int) -> Iterator[tuple[GuestMemory, int]]:
    with guest_memory(2 * size_bytes + _SLACK_BYTES) as (memory, fd):
        populate(fd, Range(0, size_bytes), source_percent)
        populate(fd, Range(size_bytes, 2 * size_bytes), destination_percent)
        yield memory, fd


def _registered(memory: GuestMemory, size_bytes: int) -> PseriesFirmware:
    firmware = PseriesFirmware()
    tree = _tree(memory)
    firmware.describe(tree)
    node = tree.find("/rtas")
    assert node is not None  # noqa: S101 - it is in _tree()
    cpu_state_bytes = node.cells(rtas.CONFIGURE_KERNEL_DUMP_SIZES)[2]
    structure = DumpStructure(
        sections=(
            _section(SectionType.CPU_STATE, 2 * size_bytes, cpu_state_bytes),
            _section(SectionType.REAL_MODE_REGION, size_bytes, size_bytes),
        )
    ).encode()
    before = memory.read(_WORK_BUFFER, len(structure))
    memory.write(_WORK_BUFFER, structure)
    token = node.cells(rtas.CONFIGURE_KERNEL_DUMP)[0]
    firmware.call(FirmwareCall(0, token, (1, _WORK_BUFFER, len(structure)), 1, 0), memory)
    memory.write(_WORK_BUFFER, before)
    if firmware.registration is None:
        raise FadumpError("the firmware has refused the benchmark's registration")
    return firmware


def _section(type_: SectionType, destination: int, size_bytes: int) -> DumpSection:
    return DumpSection(REQUEST_COPY, type_, SectionError(0), 0, size_bytes, 0, destination)


def _tree(memory: GuestMemory) -> DeviceTree:
    end = max(piece.end for piece in memory.ram)
    cpu = {"device_type": b"cpu\0", "ibm,ppc-interrupt-server#s": encode_cells(0)}
    return DeviceTree(
        root=Node(
            "",
            {"#address-cells": encode_cells(2), "#size-cells": encode_cells(2)},
            [
                Node("rtas", {rtas.OS_TERM: encode_cells(1)}),
                Node("memory@0", {"reg": encode_cells(0, 0, end >> 32, end & 0xFFFF_FFFF)}),
                Node("cpus", {}, [Node("PowerPC,POWER9@0", cpu)]),
            ],
        )
    )


if __name__ == "__main__":
    main()
