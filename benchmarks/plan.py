"""How long a plan takes for a large machine: 64 TiB in many pieces, with as many ranges of the firmware's between them.

A plan is what every question about a configuration costs; the baseline is drawing it as text.
"""

from benchmarks.report import GIB, MIB, median, parser, show, timed
from fadump.abi.platform import Platform
from fadump.kernel.plan.drawing import figures, text_figure
from fadump.kernel.plan.memory_map import MemoryBlock, MemoryMap
from fadump.kernel.plan.plan import make_plan
from fadump.kernel.plan.reserve import System
from fadump.kernel.traits import LINUX_6_12
from fadump.memory.ranges import Range, RangeSet

RUNS = 5
TOTAL_BYTES = 64 << 40
_CPU_STATE_BYTES = 1 << 20
_CMDLINE = "fadump=on crashkernel=16G"


def main() -> None:
    options = parser(__doc__.partition("\n")[0]).parse_args()
    show("plan", [row(count, RUNS) for count in (1, 100, 1000)], as_json=options.json)


def row(ranges: int, runs: int) -> dict[str, object]:
    """The line for so many pieces of memory."""
    system = scattered(ranges)
    plan = make_plan(system, LINUX_6_12, _CMDLINE)
    return {
        "ranges": ranges,
        "plan ms": 1000 * median(lambda: timed(lambda: make_plan(system, LINUX_6_12, _CMDLINE)), runs),
        "text ms": 1000 * median(lambda: timed(lambda: [list(text_figure(figure)) for figure in figures(plan)]), runs),
    }


def scattered(count: int) -> System:
    """64 TiB in ``count`` pieces with holes between them."""
    step = 2 * TOTAL_BYTES // count
    blocks = [MemoryBlock(Range.sized(index * step, step // 2)) for index in range(count)]
    firmware = RangeSet(Range.sized(index * step + GIB, MIB) for index in range(count))
    return System(Platform.PSERIES, MemoryMap.of(blocks, firmware, RangeSet()), _CPU_STATE_BYTES)


if __name__ == "__main__":
    main()
