"""A real Debian, crashed and judged: by its own boot loader on pseries, and by -kernel on both platforms."""

import json
import subprocess
import sys

import pytest

from fadump.kit.kernel import build_kernel

SECONDS = 1800
CMDLINE = "console=hvc0 root=/dev/vda2 ro fadump=on"


@pytest.fixture(scope="module")
def debian():
    build_kernel()
    command = [sys.executable, "-m", "fadump", "image", "build", "--json"]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


@pytest.mark.parametrize(
    "how",
    [
        [],
        ["--kernel", "{kernel}", "--cmdline", f"{CMDLINE} crashkernel=512M"],
        ["--kernel", "{kernel}", "--cmdline", CMDLINE, "--platform", "powernv", "--crash-by", "sysrq"],
    ],
    ids=["boot loader", "pseries", "powernv"],
)
def test_debian_saves_its_dump_as_it_was(tmp_path, debian, how):
    options = [word.format(kernel=debian["kernel"]) for word in how]
    command = [sys.executable, "-m", "fadump", "rehearse", "--json", "--verify", "--out", tmp_path / "out"]
    done = subprocess.run(
        [*command, "--disk", debian["path"], *options], capture_output=True, text=True, timeout=SECONDS, check=False
    )
    result = json.loads(done.stdout)
    assert (done.returncode, result["result"]) == (0, "saved"), done.stderr
    assert result["verified"]["bytes_different"] == 0 and not result["verified"]["registers_different"]
    assert result["verified"]["bytes_compared"] > 50 << 20
    assert (result["service"], result["resets"]) == ("rebooted", 2)  # as kdump-tools does
