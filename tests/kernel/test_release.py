"""What a capture kernel gives back, and the registers that a crash leaves: on the embedded machine, step by step."""

import pytest

from fadump.abi.linux.crash_info import CrashHeader
from fadump.abi.linux.pt_regs import REGISTER_NAMES
from fadump.abi.platform import Platform
from fadump.abi.registers import PAPR_TO_PT_REGS
from fadump.kernel.image.stacks import crashing
from fadump.machine.channel import Crash, Crashing, Hello, Release, Released
from fadump.memory.devicetree import DeviceTree
from fadump.memory.ranges import Range, RangeSet
from tests.machine.embedded.bench import ALL, bench

PAGE = 0x10000
GIB = 1 << 30


def freed(log):
    """What the kernel says that it frees."""
    lines = [line.partition("freeing reserved memory (")[2].rstrip(")") for line in log.splitlines()]
    return RangeSet(Range(*(int(address, 16) for address in line.split(" - "))) for line in lines if line)


def reserved_ranges(tree: DeviceTree):
    cells = tree.root.cells("reserved-ranges")
    numbers = [high << 32 | low for high, low in zip(cells[::2], cells[1::2], strict=True)]
    return RangeSet(Range.sized(start, size) for start, size in zip(numbers[::2], numbers[1::2], strict=True))


@pytest.mark.parametrize("platform", ALL)
@pytest.mark.parametrize("end", [4 * GIB, 5 * GIB])
def test_all_but_boot_memory_the_area_and_the_firmwares_memory_is_given_back(platform, end):
    trees = []
    with bench(platform, memory=(Range(0, end),)) as guest:
        guest.on_tree = trees.append
        registered = guest.to_registered()
        guest.machine.ask(Crash(0))
        guest.until(Crashing)
        guest.until(Hello)
        (boot_memory,) = guest.dump.boot_memory
        copies = [
            region.destination for region in guest.dump.regions if region.name in ("CPU state", "copy of boot memory")
        ]
        area = Range.sized(min(copies), registered.reserved_bytes)
        released = guest.ask(Release(), Released).released_bytes
        expected = RangeSet([Range(boot_memory.end, end)]) - RangeSet([area]) - reserved_ranges(trees[-1])
        pages = RangeSet(Range(piece.start & -PAGE, piece.end & -PAGE) for piece in expected)
        assert freed(guest.log) == pages
        buffers = 2 * PAGE  # of the ELF core header and of the notes
        assert released == pages.size_bytes + buffers


@pytest.mark.parametrize(("nodes", "freed"), [
    (1, ["0x30000000 - 0x140000000)"]),
    (2, ["0x30000000 - 0x80000000)", "0x80000000 - 0x100000000)", "0x100000000 - 0x140000000)"]),
])  # fmt: skip
def test_memory_is_given_back_node_by_node(nodes, freed):
    """fadump_release_reserved_area() goes from region to region, and a region is in one node; so are PT_LOADs."""
    memory = (Range(0, 2 * GIB), Range(2 * GIB, 4 * GIB), Range(4 * GIB, 5 * GIB))
    with bench(memory=memory, nodes=nodes) as guest:
        guest.to_capture()
        guest.ask(Release(), Released)
        lines = [line for line in guest.log.splitlines() if "freeing reserved memory" in line]
    assert [line.rpartition("(")[2] for line in lines[1:]] == freed


def test_a_hole_is_not_given_back():
    with bench(memory=(Range(0, GIB), Range(3 * GIB, 4 * GIB))) as guest:
        guest.to_capture()
        guest.ask(Release(), Released)
        assert not freed(guest.log).overlaps(Range(GIB, 3 * GIB))


@pytest.mark.parametrize("platform", ALL)
@pytest.mark.parametrize("nmi", [False, True])
def test_the_header_has_the_crashing_cpus_registers(platform, nmi):
    seen = []

    def look(guest, trigger):
        seen.append((trigger.crashing_cpu, guest.machine.cpus()))

    with bench(platform, cpus=4, smt=2) as guest:
        guest.on_crash = look
        if nmi:
            guest.to_registered()
            guest.machine.inject_nmi()
            guest.until(Hello)
        else:
            guest.to_capture(cpu=3)
        header = CrashHeader.decode(guest.machine.memory.read(guest.dump.crash_info, 0x400), 8)
    ((crashed, cpus),) = seen
    assert header.crashing_cpu == crashed and header.cpu_mask == 15
    assert nmi or crashed == (3 if platform is Platform.PSERIES else 5)
    (cpu,) = (cpu for cpu in cpus if cpu.cpu_id == crashed)
    expected = {PAPR_TO_PT_REGS[name]: value for name, value in cpu.values.items() if name in PAPR_TO_PT_REGS}
    if nmi:
        expected["trap"] = 0x100
    else:  # they are saved where the kernel crashes
        logical = [cpu.cpu_id for cpu in cpus].index(crashed)
        expected |= crashing(logical).registers()
    assert header.registers == dict.fromkeys(REGISTER_NAMES, 0) | expected
