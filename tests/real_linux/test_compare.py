"""The model against real Linux: a few configurations of the set, with the kernel that is there, one of them crashed."""

import json
import select
import signal
import subprocess
from pathlib import Path

import pytest

from fadump.abi.platform import Platform
from fadump.compare.configuration import Ends, Shape, full_set
from fadump.kernel.traits import Mmu
from tests.real_linux.fadump_command import COMMAND, END_SECONDS, Done, wait_until_gone

SECONDS = 900


def first(suits):
    """The number, in the set, of the first configuration with the default kernel that suits."""
    numbered = enumerate(full_set("0"), 1)
    return next(
        number for number, config in numbered if (config.series, config.page_size) == ("6.12", "64K") and suits(config)
    )


def crashes(config):
    """There is room enough for it to be dumped."""
    enough = ENOUGH[config.platform]
    return (
        (config.ends is Ends.CRASHED and config.memory_mib >= 2304 and config.shape not in HOLES)
        and not (config.limit or config.reserve_mem)
        and config.crashkernel in enough
    )


HOLES = (Shape.EARLY_HOLE, Shape.SMALL_FIRST)
"""Where Linux may lose a dump."""
LEAST = ("", "crashkernel=1G,cma", "crashkernel=2G-1G:512M", "crashkernel=1G,high crashkernel=128M,low")
ENOUGH = {
    Platform.PSERIES: (*LEAST, "crashkernel=1G@64M", "crashkernel=7G", "crashkernel=400M crashkernel=912M"),
    Platform.POWERNV: LEAST,
}
"""What is enough, and not too much; on powernv the least size, which these words come to."""
NUMBERS = {
    first(lambda config: config.platform is Platform.PSERIES and crashes(config)),
    first(
        lambda config: config.platform is Platform.PSERIES and config.mmu is Mmu.HASH and config.fadump == "fadump=on"
    ),
    first(lambda config: config.platform is Platform.POWERNV and crashes(config)),
}


BY_A_CAMPAIGN = first(lambda config: config.platform is Platform.PSERIES and not config.fadump)


def compare(out, numbers=NUMBERS, *options):
    only = [word for number in sorted(numbers) for word in ("--only", str(number))]
    command = [*COMMAND, "compare", "--json", "--out", str(out), *only, *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    return Done(done.returncode, done.stdout, done.stderr, out)


@pytest.fixture(scope="module")
def compared(tmp_path_factory, kernel):
    return compare(tmp_path_factory.mktemp("compare"))


def test_the_model_does_what_linux_does(compared):
    assert compared.status == 0, compared.stderr
    told = compared.json
    assert (told["configurations"], told["differences"], told["not_compared"]) == (len(NUMBERS), [], [])
    assert told["crashed"] >= 2
    assert told["reservations"] >= 2


def test_a_campaign_can_compare_too(tmp_path, kernel):
    """Of all configurations, by campaigns/compare.toml; of one here."""
    (tmp_path / "compare.toml").write_text(f"[factors]\nconfiguration = [{BY_A_CAMPAIGN}]")
    command = [*COMMAND, "campaign", "run", "--json", "compare.toml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["outcomes"] == {"same": 1}


def test_what_has_been_seen_is_kept_and_a_difference_in_it_is_found(compared):
    """Of the crashed one every moment is there. Nothing is run again; what is changed by hand is a difference."""
    consoles = {path: path.stat().st_mtime_ns for path in compared.out.glob("*.console.log")}
    assert len(consoles) == len(NUMBERS)
    stories = {path: json.loads(path.read_text()) for path in compared.out.glob("*.json")}
    path = next(path for path, kept in stories.items() if len(kept["seen"]["moments"]) == 4)
    changed = stories[path]
    changed["seen"]["moments"][2]["answers"]["PT_LOADs of /proc/vmcore"] += "\n0x0..0x1"
    path.write_text(json.dumps(changed))
    again = compare(compared.out)
    assert again.status == 1, again.stderr
    (difference,) = again.json["differences"]
    assert (difference["moment"], difference["linux"], difference["model"]) == ("capture boot", ["0x0..0x1"], [])
    assert {path: path.stat().st_mtime_ns for path in consoles} == consoles


def test_an_interrupted_comparison_leaves_no_guest(tmp_path, kernel):
    command = [*COMMAND, "compare", "--out", str(tmp_path), "--only", str(min(NUMBERS))]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        guests = wait_for_guests(process)
        process.send_signal(signal.SIGINT)
        _out, err = process.communicate(timeout=END_SECONDS)
    assert process.returncode == 130
    assert err.splitlines()[-1] == "fadump: interrupted"
    wait_until_gone(guests)
    assert not list(tmp_path.glob("*.json*"))


def wait_for_guests(process):
    """The processes that the command has started, as soon as there are any."""
    while process.poll() is None:
        children = [task.joinpath("children") for task in Path(f"/proc/{process.pid}/task").iterdir()]
        if found := [int(pid) for path in children for pid in path.read_text().split()]:
            return found
        select.select([process.stdout], [], [], 0.05)
    raise AssertionError(process.stderr.read())
