import itertools
from dataclasses import replace

import pytest

from fadump.abi.platform import Platform
from fadump.compare.configuration import FACTORS, Cpus, Ends, Shape, configurations, full_set, may_stand_together
from fadump.kernel.traits import GIB, LINUX_6_1, LINUX_6_12, LINUX_7_2, MIB, Mmu
from fadump.machine.qemu.config import Dimm
from tests.compare.known import PSERIES

SEEDS = ["0", "1", "any text"]


def row(config):
    machine, kernel = (config.platform, config.mmu, config.ends), (config.series, config.page_size)
    return machine, kernel, *(getattr(config, name) for name in list(FACTORS)[2:])


def allowed_pairs():
    for (first, ones), (second, others) in itertools.combinations(FACTORS.items(), 2):
        for one, other in itertools.product(ones, others):
            if may_stand_together({first: one, second: other}):
                yield (first, one), (second, other)


PSERIES_RADIX, PSERIES_HASH = (Platform.PSERIES, Mmu.RADIX), (Platform.PSERIES, Mmu.HASH)
OPAL = (Platform.POWERNV, Mmu.RADIX)


@pytest.mark.parametrize(("values", "may"), [
    ({"machine": (*OPAL, Ends.CRASHED), "memory_mib": 4096}, True),
    ({"machine": (*OPAL, Ends.CRASHED), "memory_mib": 3072}, False),
    ({"machine": (*OPAL, Ends.CRASHED), "shape": Shape.WHOLE}, True),
    ({"machine": (*OPAL, Ends.CRASHED), "shape": Shape.NODES}, False),
    ({"machine": (*OPAL, Ends.CRASHED), "cpus": Cpus.FOUR}, True),
    ({"machine": (*OPAL, Ends.CRASHED), "cpus": Cpus.EIGHT}, True),
    ({"machine": (*OPAL, Ends.CRASHED), "cpus": Cpus.TWO_OF_EIGHT}, False),
    ({"machine": (*OPAL, Ends.CRASHED), "cpus": Cpus.TWO_OF_64}, False),
    ({"machine": (*PSERIES_RADIX, Ends.CRASHED), "cpus": Cpus.TWO_OF_EIGHT}, True),
    ({"machine": (*PSERIES_RADIX, Ends.CRASHED), "memory_mib": 1024}, True),
    ({"machine": (*OPAL, Ends.CRASHED), "limit": "mem=2G"}, False),
    ({"machine": (*OPAL, Ends.IN_PRODUCTION), "limit": "mem=2G"}, True),
    ({"machine": (*OPAL, Ends.IN_PRODUCTION), "limit": "mem=2G", "kernel": ("6.12", "64K")}, True),
    ({"machine": (*OPAL, Ends.IN_PRODUCTION), "limit": "mem=2G", "kernel": ("6.1", "64K")}, False),
    ({"machine": (*OPAL, Ends.IN_PRODUCTION), "limit": "", "kernel": ("6.1", "64K")}, True),
    ({"machine": (*PSERIES_RADIX, Ends.CRASHED), "limit": "mem=2G", "kernel": ("6.1", "64K")}, True),
    ({"machine": (*PSERIES_RADIX, Ends.CRASHED), "fadump": ""}, False),
    ({"machine": (*PSERIES_RADIX, Ends.CRASHED), "fadump": "fadump=on fadump=off"}, False),
    ({"machine": (*PSERIES_RADIX, Ends.CRASHED), "fadump": "fadump=nocma"}, True),
    ({"machine": (*PSERIES_RADIX, Ends.IN_PRODUCTION), "fadump": ""}, True),
    ({"machine": (*PSERIES_HASH, Ends.CRASHED), "memory_mib": 16384}, True),
    ({"machine": (*PSERIES_HASH, Ends.CRASHED), "memory_mib": 32768}, False),
    ({"machine": (*PSERIES_RADIX, Ends.CRASHED), "memory_mib": 32768}, True),
    ({"kernel": ("6.12", "4K"), "memory_mib": 16384}, True),
    ({"kernel": ("6.12", "4K"), "memory_mib": 32768}, False),
    ({"kernel": ("6.12", "64K"), "memory_mib": 32768}, True),
    ({"shape": Shape.DIMM, "memory_mib": 1024}, False),
    ({"shape": Shape.DIMM, "memory_mib": 1280}, True),
    ({"shape": Shape.HOLE, "memory_mib": 1024}, True),
])  # fmt: skip
def test_what_is_not_tried(values, may):
    assert may_stand_together(values) is may


@pytest.mark.parametrize("seed", SEEDS)
def test_the_full_set_has_every_pair_and_is_large_enough(seed):
    found = full_set(seed)
    have = {pair for config in found for pair in itertools.combinations(zip(FACTORS, row(config), strict=True), 2)}
    assert set(allowed_pairs()) - have == set()
    assert len(found) >= 150
    crashed = [config for config in found if config.ends is Ends.CRASHED]
    assert len(crashed) >= 25
    assert len({(config.platform, config.mmu, config.series, config.page_size) for config in crashed}) == 24
    assert len({config.key for config in found}) == len(found)


def test_a_seed_says_which_and_in_which_order():
    assert list(full_set("0")) == list(itertools.islice(configurations("0"), len(full_set("0"))))
    assert full_set("0") != full_set("1")


@pytest.mark.parametrize("seed", SEEDS)
def test_each_can_be_a_machine_of_qemus(seed):
    for config in full_set(seed):
        assert sum(config.nodes) + sum(dimm.size_bytes for dimm in config.dimms) == config.memory_mib * MIB
        assert all(size_bytes > 0 and size_bytes % (256 * MIB) == 0 for size_bytes in config.nodes)
        pieces = config.memory
        assert pieces[0].start == 0
        assert all(lower.end <= higher.start for lower, higher in itertools.pairwise(pieces))
        assert all(dimm.address % GIB == 0 and dimm.size_bytes % (256 * MIB) == 0 for dimm in config.dimms)
        if config.platform is Platform.POWERNV:
            assert not config.dimms and len(config.nodes) == 1 and config.max_cpus == config.cpu_count


@pytest.mark.parametrize(("shape", "memory_mib", "nodes", "dimms"), [
    (Shape.WHOLE, 2304, [2304], ()),
    (Shape.NODES, 2304, [1024, 256, 1024], ()),
    (Shape.NODES, 1024, [512, 256, 256], ()),
    (Shape.DIMM, 2304, [2048], (Dimm(256 * MIB, 2048 * MIB),)),
    (Shape.DIMM, 4096, [3072], (Dimm(1024 * MIB, 3072 * MIB),)),
    (Shape.HOLE, 1024, [512], (Dimm(512 * MIB, 2048 * MIB),)),
    (Shape.HOLE, 4096, [3584], (Dimm(512 * MIB, 5120 * MIB),)),
    (Shape.EARLY_HOLE, 4096, [768], (Dimm(3328 * MIB, 1024 * MIB),)),
    (Shape.SMALL_FIRST, 1024, [512], (Dimm(512 * MIB, 1024 * MIB),)),
])  # fmt: skip
def test_how_memory_lies(shape, memory_mib, nodes, dimms):
    found = replace(PSERIES, shape=shape, memory_mib=memory_mib)
    assert found.nodes == tuple(mib * MIB for mib in nodes)
    assert found.dimms == dimms


def test_what_follows_from_its_values():
    found = replace(PSERIES, page_size="4K", mmu=Mmu.HASH, cpus=Cpus.TWO_OF_EIGHT)
    assert (found.cpu_count, found.max_cpus, found.crash_cpu, found.cpu_model) == (2, 8, 1, "POWER8")
    assert found.traits == replace(LINUX_6_12, page_bytes=0x1000)
    assert replace(found, series="6.1", page_size="64K").traits == LINUX_6_1
    assert replace(found, series="7.2", page_size="64K").traits == LINUX_7_2
    assert replace(found, cpus=Cpus.TWO_OF_64).max_cpus == 64
    assert found.cmdline.endswith(" quiet fadump=on crashkernel=512M")
    opal = replace(found, platform=Platform.POWERNV)
    assert (opal.cpu_model, opal.words) == ("POWER9", "fadump=on crashkernel=512M disable_radix")


def test_a_title_says_all_in_words():
    assert PSERIES.platform is Platform.PSERIES
    found = replace(
        PSERIES, shape=Shape.NODES, memory_mib=2304, cpus=Cpus.TWO_OF_EIGHT, ends=Ends.CRASHED, mmu=Mmu.RADIX
    )
    words = "fadump=on crashkernel=512M"
    assert found.title == f"pseries 6.12/64K radix 2304M nodes, 2 of 8 CPUs, crashed: {words}"
    assert ", 1 CPU, " in replace(found, cpus=Cpus.ONE).title
    assert replace(found, fadump="", crashkernel="").title.endswith(": no words")
