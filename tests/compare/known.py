"""Configurations for tests, and what is seen of them without QEMU: the model's own story stands for Linux's."""

from dataclasses import replace

from fadump.abi.platform import Platform
from fadump.compare.configuration import Configuration, Cpus, Ends, Shape
from fadump.compare.model_side import see_model
from fadump.compare.seen import CAPTURE_BOOT, Moment, Seen, Trees
from fadump.kernel.traits import Mmu
from fadump.machine.embedded.trees import build_tree
from tests.machine.embedded.bench import bench, config_of

PSERIES = Configuration(
    *(Platform.PSERIES, "6.12", "64K", Mmu.RADIX, 2304, Shape.WHOLE, Cpus.TWO),
    *("fadump=on", "crashkernel=512M", "", "", Ends.CRASHED),
)
POWERNV = replace(PSERIES, platform=Platform.POWERNV, memory_mib=4096, crashkernel="crashkernel=1G")


def seen_of(configuration):
    """As if Linux had done what the model does, on the trees of the embedded machine."""
    machine = {"memory": configuration.memory, "cpus": configuration.cpu_count}
    found = build_tree(config_of(configuration.platform, configuration.cmdline, **machine)).encode()
    trees, cpus = [], []
    with bench(configuration.platform, configuration.cmdline, **machine) as guest:
        guest.on_tree = lambda tree: trees.append(Trees(found, tree.encode()))
        guest.on_crash = lambda guest, _trigger: cpus.extend(guest.machine.cpus())
        if configuration.ends is Ends.CRASHED:
            guest.to_capture(configuration.crash_cpu)
        else:
            guest.to_registered()
    asked = [Moment(CAPTURE_BOOT, {})] if configuration.ends is Ends.CRASHED else []
    linux = Seen("6.12.0-model", asked, trees, cpus)
    return replace(linux, moments=see_model(configuration, linux))
