"""A real Debian, crashed and judged, whose kernel is given by -kernel, on both platforms."""

import pytest

CMDLINE = "console=hvc0 root=/dev/vda2 ro fadump=on"


@pytest.mark.parametrize(
    "how",
    [
        ["--kernel", "{kernel}", "--cmdline", f"{CMDLINE} crashkernel=512M"],
        ["--kernel", "{kernel}", "--cmdline", CMDLINE, "--platform", "powernv", "--crash-by", "sysrq"],
        ["--kernel", "{kernel}", "--cmdline", CMDLINE, "--platform", "powernv", "--crash-by", "opal"],
    ],
    ids=["pseries", "powernv", "an OPAL that fails"],
)
def test_debian_saves_its_dump_as_it_was(debian_saves, how):
    debian_saves(*how)
