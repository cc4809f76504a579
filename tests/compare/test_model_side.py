"""The model's answers: what is asked of it, in the order of a story."""

from dataclasses import replace

import pytest

from fadump.compare.configuration import Ends, Shape
from fadump.compare.model_side import see_model
from fadump.compare.seen import CAPTURE_BOOT, CRASH, FIRST_BOOT, RELEASED
from fadump.errors import MachineError
from fadump.memory.devicetree import DeviceTree
from tests.compare.known import POWERNV, PSERIES, seen_of

FADUMP = "/sys/kernel/fadump"
KNOWN = [PSERIES, POWERNV, replace(PSERIES, series="6.1")]


@pytest.fixture(scope="module", params=KNOWN, ids=["pseries", "powernv", "6.1"])
def story(request):
    return {moment.name: moment.answers for moment in seen_of(request.param).moments}


def test_the_story_has_its_moments(story):
    assert list(story) == [FIRST_BOOT, CRASH, CAPTURE_BOOT, RELEASED]


def test_files_and_their_errors(story):
    first, capture, released = (story[name] for name in (FIRST_BOOT, CAPTURE_BOOT, RELEASED))
    assert first[f"read {FADUMP}/enabled"] == "444 1\n"
    assert first[f"write '1\\n' to {FADUMP}/enabled"] == "Permission denied"
    assert first[f"write '2\\n' to {FADUMP}/registered"] == "Invalid argument"
    assert first[f"read {FADUMP}/release_mem"] == "absent"
    assert [first[f"read {FADUMP}/registered{again}"] for again in ("", " (2)", " (3)", " (4)")] == [
        *("644 1\n", "644 0\n", "644 1\n", "644 1\n")
    ]
    assert capture[f"read {FADUMP}/release_mem"] == "200, can't be read: Permission denied"
    assert capture[f"write '1\\n' to {FADUMP}/registered"] == "Operation not permitted"
    assert released[f"write '1\\n' to {FADUMP}/release_mem"] == "done"
    assert released[f"write '1\\n' to {FADUMP}/release_mem (2)"] == "Operation not permitted"


def test_the_dump_and_the_firmwares_part_in_it(story):
    first, crash, capture = (story[name] for name in (FIRST_BOOT, CRASH, CAPTURE_BOOT))
    calls = first["firmware calls on the way"] + first["firmware calls"]
    assert calls.count("0x0+0x20000000 to") > 1 or "OPAL_MPIPL_UPDATE 0 0x0 " in calls
    assert "a dump is taken" in crash["firmware calls on the way"]
    assert "error flags 0x0" in crash["preserved"]
    loads = capture["PT_LOADs of /proc/vmcore"].split("\n")
    assert loads[0].startswith("0x0..0x") and loads[0].endswith(" at +0x0")
    first, second = capture["CPUs in /proc/vmcore"].split("\n")
    assert first.startswith("signal 0 pid 0 gpr0 ")
    assert second == "the CPU that crashed"


def test_the_command_line_that_is_logged_has_what_was_appended_to_it(story, request):
    """No kernel appends anything with OPAL, and 6.1 never does."""
    (logged,) = [line for line in story[CAPTURE_BOOT]["messages"].split("\n") if "Kernel command line: " in line]
    appends = request.node.callspec.id == "pseries"
    assert logged.startswith("<5>Kernel command line: ")
    assert logged.endswith(" fadump_compare=1") is appends
    said = story[CAPTURE_BOOT]["messages"]
    assert said.index("Firmware-assisted dump is active") < said.index(logged)


def test_messages_are_without_times_and_of_fadump_only(story):
    said = story[FIRST_BOOT]["messages"].split("\n")
    assert any(line.startswith("<6>fadump: Reserved ") for line in said)
    assert not [line for line in said if "[" in line or "Linux version" in line]


def test_a_machine_that_stays_in_production_has_one_moment():
    assert [moment.name for moment in seen_of(replace(PSERIES, ends=Ends.IN_PRODUCTION)).moments] == [FIRST_BOOT]


def test_a_tree_that_the_model_cannot_run_on_is_a_sentence():
    linux = seen_of(replace(PSERIES, ends=Ends.IN_PRODUCTION))
    tree = DeviceTree.parse(linux.boots[0].entered)
    tree.find("/cpus").children.clear()
    broken = replace(linux, boots=[replace(linux.boots[0], entered=tree.encode())])
    with pytest.raises(MachineError, match="the model panics: there are 0 CPUs"):
        see_model(PSERIES, broken)


def test_a_dump_that_the_capture_kernel_discards_is_compared_too():
    """Boot memory reaches beyond a hole, so that its header is looked for in the wrong place (docs/linux-bugs.md)."""
    words = {"crashkernel": "", "reserve_mem": "fadump_reserve_mem=1200M"}
    discarded = replace(PSERIES, memory_mib=8448, shape=Shape.SMALL_FIRST, **words)
    story = {moment.name: moment.answers for moment in seen_of(discarded).moments}
    assert list(story) == [FIRST_BOOT, CRASH, CAPTURE_BOOT, RELEASED]
    assert "type 0x11 0x0 to 0x" in story[CRASH]["preserved"]
    assert "Fadump header is corrupted" in story[CAPTURE_BOOT]["messages"]
