"""What people are told of a system that their firmware sees."""

import pytest

from fadump.firmware.contract import PreservedDump
from fadump.memory.ranges import Range, RangeSet
from fadump.observer import Milestone, Seen
from fadump.systems.events import EventLog


@pytest.fixture
def told():
    lines = []
    log = EventLog(lambda event: lines.append(event.text))
    log.lines = lines
    return log


def test_a_registration_that_ends_is_no_fault_of_a_system_that_goes_down(told):
    told.seen(Seen.UNREGISTERED, 1.0)
    told.seen(Seen.REGISTERED, 2.0)
    told.seen(Seen.RESET, 3.0)
    told.seen(Seen.UNREGISTERED, 4.0)
    told.seen(Seen.RESET, 5.0)
    told.milestone(Milestone.PRODUCTION, 6.0)
    told.seen(Seen.UNREGISTERED, 7.0)
    assert told.lines == [
        "the kernel has unregistered: a crash would not be dumped",
        "the kernel has registered: a crash will be dumped",
        "reset: nothing is registered any more",
        "the kernel has unregistered: a crash would not be dumped",
        "reset: the kernel had unregistered as a part of its shutdown",
        "the kernel has unregistered, as a part of its shutdown",
    ]


@pytest.mark.parametrize("protected", [Range.sized(0x5001_0000, 0x1_0000), None])
def test_what_the_firmware_keeps_from_linux_is_told_at_each_release(told, protected):
    told.preserved(PreservedDump((), b"", RangeSet(), RangeSet(), protected=protected), 1.0)
    told.seen(Seen.CAPTURE_BOOT, 2.0)
    told.seen(Seen.INVALIDATED, 3.0)
    kept = [line for line in told.lines if "from being freed" in line]
    assert [line[:79] for line in kept] == [
        "the firmware has kept the page with the crash-info header, at 0x50010000, from "
    ] * (protected is not None)
