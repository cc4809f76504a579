"""makedumpfile, which we did not write, reads dumps of the model of Linux, and leaves out the pages that we do."""

import os

import pytest

from fadump.abi.platform import Platform
from fadump.kernel.model import KernelConfig
from fadump.machine.channel import Save, Saved
from tests.machine.embedded.bench import bench
from tests.real_linux.page_sets import compare_page_sets


@pytest.mark.parametrize(
    ("platform", "version", "page_bytes", "radix"),
    [
        (Platform.PSERIES, "6.12", 0x10000, True),
        (Platform.PSERIES, "6.12", 0x1000, False),
        (Platform.PSERIES, "6.1", 0x1000, True),
        (Platform.POWERNV, "6.1", 0x10000, False),
    ],
    ids=["6.12-64K-radix", "6.12-4K-hash", "6.1-4K-radix", "6.1-64K-hash"],
)
def test_every_dump_level_leaves_out_what_makedumpfile_leaves_out(
    tmp_path, makedumpfile, platform, version, page_bytes, radix
):
    kernel = KernelConfig.of_version(version, page_bytes=page_bytes, epoch_seconds=1_700_000_000)
    with bench(platform, kernel=kernel, radix=radix) as guest:
        guest.to_capture()
        guest.ask(Save(), Saved)
        vmcore = f"/proc/{os.getpid()}/fd/{guest.disk_fd}"
        counts, differing = compare_page_sets(vmcore, makedumpfile, tmp_path / "out")
    assert differing == {}
    assert all(counts[name] for name in ("KERNEL", "FREE", "CACHE", "CACHE_PRIVATE", "USER")), counts
