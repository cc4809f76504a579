"""What a try has come to, told apart by what was seen of the system."""

import pytest

from fadump.systems.rehearsal import Watched
from fadump.systems.rehearse import Outcome, RehearsalResult
from fadump.systems.size.boot_memory import TriedBootMemory
from fadump.systems.size.probe import Probe, ProbeResult, _told_apart

MIB = 1 << 20
DUMP = object()
KILLED = ["Out of memory: Killed process 1"]
PANIC = "the capture kernel has panicked: Kernel panic - not syncing: memblock_alloc: Failed to allocate 1048576 bytes"
LATE = "the capture boot has neither dealt with the dump nor come into production within 60 seconds: see what\n  | x"


@pytest.mark.parametrize(("outcome", "watched", "error", "result"), [
    (Outcome.SAVED, Watched(dump=DUMP), None, ProbeResult.SAVED),
    (Outcome.SAVED, Watched(dump=DUMP, out_of_memory=KILLED), None, ProbeResult.SAVED),
    (Outcome.LOST, Watched(dump=DUMP, out_of_memory=KILLED), LATE, ProbeResult.OUT_OF_MEMORY),
    (Outcome.LOST, Watched(dump=DUMP), PANIC, ProbeResult.OUT_OF_MEMORY),
    (Outcome.LOST, Watched(dump=DUMP), LATE, ProbeResult.HANG),
    (Outcome.LOST, Watched(dump=DUMP), "there is no new dump\n  | a job ran within 90 seconds: x", ProbeResult.LOST),
    (Outcome.LOST, Watched(dump=DUMP), "the capture kernel has crashed, too: see", ProbeResult.LOST),
    (Outcome.LOST, Watched(), "the system has powered off: see why it should have", ProbeResult.NOT_REGISTERED),
    (Outcome.NOT_REGISTERED, Watched(), "the system is in production and has not", ProbeResult.NOT_REGISTERED),
    (Outcome.REFUSED, Watched(), "Can't enable fadump", ProbeResult.FALLBACK),
])  # fmt: skip
def test_what_it_has_come_to(outcome, watched, error, result):
    assert _told_apart(RehearsalResult(outcome, watched, [], 1, error=error)) is result


def test_what_is_taken_early_is_what_is_not_available_of_what_the_capture_kernel_has():
    tried = TriedBootMemory(320 * MIB, 200 * MIB)
    probe = Probe(4 << 30, tried, ProbeResult.SAVED, 40.0, available_bytes=70 * MIB)
    assert probe.early_bytes == 50 * MIB
    assert Probe(4 << 30, tried, ProbeResult.HANG, 40.0).early_bytes is None
