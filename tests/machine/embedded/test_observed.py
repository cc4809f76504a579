"""What real Linux printed, registered and saved on QEMU is what the model does on the embedded machine."""

import pytest

from fadump.abi.platform import Platform
from fadump.abi.pseries.dump_structure import DumpStructure
from fadump.firmware.pseries import Offer
from fadump.kernel.model import KernelConfig
from fadump.kernel.state import WORK_BUFFER
from fadump.kernel.traits import Mmu
from fadump.machine.channel import Crash, Crashing, Hello, Save, Saving
from fadump.memory.ranges import Range
from tests.kernel.observed import OBSERVED
from tests.machine.embedded.bench import bench

CPUS = {0x2980: 2, 0x52E0: 4, 0xA5A0: 8}
SEEN = [
    seen
    for seen in OBSERVED
    if seen.system.platform is Platform.PSERIES and not seen.kernel.first_kernel_writes_elfcorehdr
]


@pytest.mark.parametrize("seen", SEEN, ids=lambda seen: seen.options)
def test_a_run_is_what_it_was_on_real_linux(seen):
    others = {
        "memory": seen.system.memory.regions,
        "cpus": 2,
        "max_cpus": CPUS[seen.system.cpu_state_bytes],
        "radix": seen.system.mmu is Mmu.RADIX,
        "kernel": KernelConfig(seen.kernel),
    }
    with bench(cmdline=seen.cmdline, offer=Offer(hpte_bytes=seen.system.hpte_bytes), **others) as guest:
        registered = guest.until(Hello).registered
        for line in seen.first_kernel:
            assert f"fadump: {line}" in guest.log
        structure = DumpStructure.decode(guest.machine.memory.read(WORK_BUFFER, 512))
        assert seen.sections == tuple(
            (section.type, section.source, section.requested_bytes, section.destination)
            for section in structure.sections
        )
        assert registered is bool(seen.capture_kernel)
        if seen.capture_kernel:
            guest.ask(Crash(0), Crashing)
            guest.until(Hello)
        for line in seen.capture_kernel:
            assert f"fadump: {line}\n" in guest.log
    assert len(SEEN) >= 6


def test_sizes_are_those_that_the_guest_channels_document_shows():
    """docs/guest-channel.md, "One cycle": 2 GiB, two CPUs, real Linux."""
    with bench(cmdline="fadump=on crashkernel=512M", memory=(Range(0, 2 << 30),)) as guest:
        assert guest.to_registered().reserved_bytes == 536936880
        guest.ask(Crash(0), Crashing)
        guest.until(Hello)
        assert guest.ask(Save(), Saving).vmcore_bytes == 1610678272
