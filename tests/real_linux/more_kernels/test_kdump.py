"""``fadump run`` where Linux falls back to kdump: it is armed, saves the crash, and its dump is proven."""

import json
import re

from fadump.cli import main
from fadump.kit.kernel import build_kernel, newest_series
from fadump.memory.ranges import Range, RangeSet
from fadump.vmcore.check import check_dump
from fadump.vmcore.dump import open_dump
from tests.real_linux.fadump_command import fadump_run

REASON = "fadump: Can't enable fadump with boot memory size (0x10000000) less than 0x14000000"
MIB = 1 << 20


def test_kdump_saves_the_crash_as_planned(tmp_path, capsys):
    kernel = build_kernel(newest_series())
    options = ["--memory", "1280M", "--cmdline", "crashkernel=256M", "--crash-cpu", "1", "--cycles", "2", "--verify"]
    done = fadump_run(tmp_path / "out", "--kernel", str(kernel.bootable), *options)
    result = done.json
    assert (done.status, result["result"], result["phase"]) == (1, "not-registered", "registered"), done.stderr
    console = done.file("console.log")

    cmdline = re.search(r"Kernel command line: (.*?)\s*$", console, re.MULTILINE)[1]
    assert main(["plan", "--memory", "1280M", "--cmdline", cmdline, "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    area = Range(plan["kdump"]["start"], plan["kdump"]["end"])
    assert plan["refusal"].startswith("256 MiB of boot memory is less than 320 MiB")
    assert result["kdump"] == {"start": area.start, "reserved_bytes": area.size_bytes, "reason": REASON}

    vmcore = tmp_path / "out" / "vmcore.1"
    assert result["vmcore"] == str(vmcore)
    assert result["error"].endswith(f"instead ({REASON}); kdump has saved {vmcore}")
    assert (console.count("Welcome to Open Firmware"), console.count("] Linux version ")) == (1, 2)
    with open_dump(vmcore) as dump:
        assert check_dump(dump).whole and b"CRASHTIME=" in dump.vmcoreinfo
        in_dump = RangeSet(dump.memory)
        assert RangeSet([Range(0, 1280 * MIB)]) - RangeSet([area]) - in_dump == RangeSet()
        assert (in_dump & RangeSet([area])).size_bytes < MIB  # RTAS, perhaps
    verified = result["verified"]
    assert (verified["bytes_compared"], verified["bytes_different"]) == (in_dump.size_bytes, 0)
    assert (verified["bytes_excluded"], verified["registers_different"]) == (0, None)
    assert main(["dmesg", str(vmcore)]) == 0
    assert "Kernel panic - not syncing: sysrq triggered crash" in capsys.readouterr().out
