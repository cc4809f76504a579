"""Keep and put back, in seconds per populated GiB, against memcpy in the same run.

``KeptMemory`` copies the populated part of guest memory before a reset, and compares it all at the handover after it;
a hundredth of its extents has changed by then. memcpy copies as many bytes from one anonymous mapping to a fresh one.
"""

import ctypes
import mmap
import statistics

from benchmarks.guest import PAGE_BYTES, guest_memory, populate
from benchmarks.report import GIB, MIB, RUNS, median, parser, show, timed
from fadump.machine.qemu.keep import KeptMemory
from fadump.memory.ranges import Range, RangeSet

CHANGED_PERCENT = 1
"""SLOF and prom_init overwrite about 3 MB of 1.5 GiB."""


def main() -> None:
    arguments = parser(__doc__.partition("\n")[0])
    arguments.add_argument("--mib", type=int, nargs="+", default=[512, 1024], help="sizes of kept memory")
    arguments.add_argument("--runs", type=int, default=RUNS)
    options = arguments.parse_args()
    rows = [row(mib, percent, options.runs) for mib in options.mib for percent in (10, 100)]
    show("keep", rows, as_json=options.json)


def row(mib: int, percent: int, runs: int) -> dict[str, object]:
    """One line; each figure is a median, divided by how much was populated."""
    kept = Range(0, mib * MIB)
    measured = [_measure(kept, percent) for _run in range(runs)]
    populated_bytes = measured[0][0]
    per_gib = GIB / populated_bytes
    take, put_back = (statistics.median(run[step] for run in measured) * per_gib for step in (1, 2))
    memcpy = median(lambda: _memcpy_seconds(populated_bytes), runs) * per_gib
    return {
        "kept MiB": mib,
        "populated %": percent,
        "keep s/GiB": take,
        "put back s/GiB": put_back,
        "memcpy s/GiB": memcpy,
        "keep of memcpy %": round(100 * memcpy / take),
        "put back of memcpy %": round(100 * memcpy / put_back),
    }


def _measure(kept: Range, percent: int) -> tuple[int, float, float]:
    """Populated bytes, seconds to keep them, seconds to put them back."""
    with guest_memory(kept.size_bytes) as (memory, fd):
        populated_bytes = populate(fd, kept, percent)
        copies: list[KeptMemory] = []
        take = timed(lambda: copies.append(KeptMemory(memory, RangeSet([kept]))))
        extents = list(memory.populated(kept))
        for extent in extents[:: max(1, 100 // CHANGED_PERCENT)]:
            memory.write(extent.start, b"SLOF")
        put_back = timed(lambda: copies[0].put_back(RangeSet()))
        copies[0].close()
    return populated_bytes, take, put_back


def _memcpy_seconds(size_bytes: int) -> float:
    with mmap.mmap(-1, size_bytes) as source, mmap.mmap(-1, size_bytes) as destination:
        for at in range(0, size_bytes, PAGE_BYTES):
            source[at] = 1
        anchors = [ctypes.c_char.from_buffer(mapping) for mapping in (source, destination)]
        addresses = [ctypes.addressof(anchor) for anchor in anchors]
        seconds = timed(lambda: ctypes.memmove(addresses[1], addresses[0], size_bytes))
        anchors.clear()
        return seconds


if __name__ == "__main__":
    main()
