"""The plan against a real boot: what Linux has reserved and registered is what the model says."""

import json
import re

from fadump.abi.platform import Platform
from fadump.cli import main
from fadump.kernel.plan.map_text import parse_map
from fadump.kernel.plan.plan import make_plan
from fadump.kernel.plan.reserve import System
from fadump.kernel.traits import LINUX_6_12, Mmu
from tests.kernel.said import (
    capture_kernel_says,
    copied_by_firmware,
    first_kernel_says,
    registered,
    said_by_capture_kernel,
    said_by_first_kernel,
)
from tests.real_linux.fadump_command import fadump_run

CPU_STATE_BYTES = 0x2980
HPTE_BYTES = {Mmu.HASH: 0x1000, Mmu.RADIX: 0}


def plan_of(console, memory, mmu=Mmu.RADIX):
    """The plan for what a run's console says of its machine."""
    rtas = int(re.search(r"instantiating rtas at (0x[0-9a-f]+)", console)[1], 16)
    cmdline = re.search(r"Kernel command line: (.*?)\s*$", console, re.MULTILINE)[1]
    map_ = parse_map(f"{memory}\n{rtas:#x}..{rtas + 0x10000:#x} firmware")
    system = System(Platform.PSERIES, map_, CPU_STATE_BYTES, HPTE_BYTES[mmu], mmu)
    return make_plan(system, LINUX_6_12, cmdline)


def compare(done, plan):
    console = done.file("console.log")
    assert said_by_first_kernel(console) == first_kernel_says(plan)
    assert said_by_capture_kernel(console) == capture_kernel_says(plan)
    assert copied_by_firmware(done.file("firmware.log")) == registered(plan)


def test_the_default_run_is_as_planned(cycle):
    plan = plan_of(cycle.file("console.log"), "0..2G")
    compare(cycle, plan)
    assert plan.reservation.boot_memory.size_bytes == cycle.json["boot_memory_bytes"]
    assert plan.reservation.area.size_bytes == cycle.json["reserved_bytes"]


def test_the_command_knows_the_machine_of_the_default_run(cycle, capsys):
    cmdline = re.search(r"Kernel command line: (.*?)\s*$", cycle.file("console.log"), re.MULTILINE)[1]
    assert main(["plan", "--memory", "2G", "--cmdline", cmdline, "--json"]) == 0
    planned = json.loads(capsys.readouterr().out)
    found = re.search(r"fadump: Reserved \d+MB of memory at (0x[0-9a-f]+)", cycle.file("console.log"))
    assert planned["reserved_base"] == int(found[1], 16)
    assert planned["reserved_bytes"] == cycle.json["reserved_bytes"]


def test_hash_a_dimm_and_a_table_are_as_planned(tmp_path, kernel):
    table = "crashkernel=1G-2G:384M,2G-:345M@64M"
    memory = ["--memory", "1G", "--dimm", "1G@4G"]
    done = fadump_run(tmp_path / "out", *memory, "--cpu-model", "POWER8", "--cmdline", table)
    assert done.status == 0, done.stderr
    compare(done, plan_of(done.file("console.log"), "0..1G\n4G..5G removable", Mmu.HASH))
