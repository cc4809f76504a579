"""Memory that comes and goes while a registration stands: newer kernels don't mind, older ones must register again."""

import pytest

from fadump.abi.platform import Platform
from fadump.kernel.files.sysfs import FADUMP, REGISTERED
from fadump.kernel.model import KernelConfig
from fadump.machine.channel import Crash, Crashing, FileWritten, Hello, Save, Saved
from fadump.memory.ranges import Range, RangeSet
from fadump.proof.compare import compare
from fadump.proof.crash_image import CrashImage
from fadump.vmcore.elfcore import ElfCore
from tests.machine.embedded.bench import LEAST, MIB, bench

BASE = Range(0, LEAST[Platform.PSERIES])
DIMM = Range.sized(BASE.end + 1024 * MIB, 256 * MIB)


def plug(guest):
    guest.machine.plug_memory(DIMM)


def unplug(guest):
    guest.machine.unplug_memory(DIMM)


def register_again(guest):
    guest.machine.write_file(REGISTERED, b"1")
    assert guest.until(FileWritten).word == "wrote"


class Story:
    """What happens to a machine between its registration and its crash, and what its dump is like."""

    def __init__(self, version, *events):
        with bench(kernel=KernelConfig.of_version(version), memory=(BASE,)) as guest:
            guest.to_registered()
            self.files = guest.machine.files()
            for event in events:
                event(guest)
            taken = []
            guest.on_crash = lambda guest, _trigger: taken.append(CrashImage.take(guest.machine.segments, ()))
            guest.ask(Crash(0), Crashing)
            guest.until(Hello)
            self.saved = guest.ask(Save(), Saved).word
            self.log = guest.log
            with taken[0] as image:
                if self.saved == "saved":
                    with ElfCore.open(f"/proc/self/fd/{guest.disk_fd}") as core:
                        self.comparison = compare(core, image)
                        self.shown = RangeSet(segment.physical for segment in core.segments)
                        self.zeros = self.shown.contains(DIMM) and not any(
                            core.read_physical(DIMM.start, DIMM.size_bytes)
                        )


@pytest.mark.parametrize("events", [(plug,), (plug, register_again)])
def test_a_newer_kernel_shows_what_has_been_plugged_in_any_case(events):
    story = Story("6.12", *events)
    assert f"{FADUMP}/hotplug_ready" in story.files
    assert story.shown.contains(DIMM) and story.comparison.bytes_different == 0


def test_an_older_kernel_shows_it_if_it_has_registered_again():
    story = Story("6.1", plug, register_again)
    assert f"{FADUMP}/hotplug_ready" not in story.files
    assert story.shown.contains(DIMM) and story.comparison.bytes_different == 0


def test_an_older_kernel_that_has_not_registered_again_loses_it():
    story = Story("6.1", plug)
    assert not story.shown.overlaps(DIMM)
    assert story.comparison.not_in_dump.contains(DIMM) and story.comparison.bytes_different == 0


@pytest.mark.parametrize(
    ("version", "events"),
    [
        ("6.12", (plug, register_again, unplug)),
        ("6.12", (plug, unplug)),
        ("6.1", (plug, unplug)),
        ("6.1", (plug, register_again, unplug, register_again)),
    ],
)
def test_memory_that_has_gone_is_not_in_the_dump(version, events):
    story = Story(version, *events)
    assert not story.shown.overlaps(DIMM) and story.comparison.bytes_different == 0


def test_an_older_kernel_that_has_not_registered_again_shows_zeros_where_memory_was():
    """As real Linux does, see tests/real_linux/more_kernels/test_memory_hotplug.py."""
    story = Story("6.1", plug, register_again, unplug)
    assert story.shown.contains(DIMM)
    assert RangeSet(story.comparison.differences) == RangeSet([DIMM]) and story.zeros


def test_a_dimm_needs_a_place_of_its_own_and_is_let_go_only_if_it_came_later():
    with bench() as guest:
        guest.to_registered()
        with pytest.raises(ValueError, match="there is memory in 0x10000000..0x20000000 already"):
            guest.machine.plug_memory(Range(0x1000_0000, 0x2000_0000))
        with pytest.raises(ValueError, match="can't be taken offline: Device or resource busy"):
            guest.machine.unplug_memory(BASE)
