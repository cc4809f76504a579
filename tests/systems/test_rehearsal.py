"""A rehearsal, step by step: how long each may take, and what a system that only looks ready is taken for."""

import io
import re
from dataclasses import astuple
from itertools import repeat
from pathlib import Path

import pytest

from fadump.firmware.contract import State
from fadump.observer import Milestone, Record, Seen
from fadump.systems.console import WatchedConsole
from fadump.systems.rehearsal import LostError, Patience, Rehearsal

DOCUMENT = Path(__file__).parents[2] / "docs/your-disk-image.md"


def test_the_document_has_the_time_of_each_step():
    steps = re.findall(r"^\| `(\w+)` \| .* \| (\d+) \|$", DOCUMENT.read_text(), re.MULTILINE)
    patience = Patience()
    assert [float(seconds) for _phase, seconds in steps] == [
        *(patience.production, patience.registration, patience.preserving, patience.capture_boot, patience.saving),
        *(patience.production, patience.idle, patience.registration),
    ]


def test_patience_makes_every_step_longer():
    assert astuple(Patience().scaled(2)) == tuple(2 * seconds for seconds in astuple(Patience()))


class CaptureBoot:
    """A machine and its session, in a capture boot that goes on for ever; its console gets a piece at each event.

    Time passes once all pieces are there.
    """

    def __init__(self, pieces):
        self.record = Record(0.0)
        self.record.note(Seen.CAPTURE_BOOT, 0.0)
        self.refusal = ""
        self.firmware_state = State.ACTIVE
        self.console = WatchedConsole(io.BytesIO())
        self._pieces = pieces
        self._seconds = 0.0
        self._calls = []

    def call(self):
        pass

    def clock(self):
        return self._seconds

    def call_after(self, seconds):
        self._calls.append(self._seconds + seconds)

    def serve(self):
        if piece := next(self._pieces, b""):
            self.console.write(piece)
        else:
            self._seconds = min(self._calls)
            self._calls.remove(self._seconds)


def test_half_a_line_of_a_boot_is_no_prompt():
    boot = CaptureBoot(iter([b"Linux version 6.12 (gcc) #", b"1 SMP\r\n"]))
    with pytest.raises(LostError, match="^the capture boot has neither dealt with the dump nor come into production"):
        Rehearsal(boot, boot, boot.console, Patience())._back_to_production()


def test_a_guest_that_registers_for_ever_is_watched_in_a_bounded_space():
    boot = CaptureBoot(repeat(b"[ 5.0] Out of memory: Killed process 1\n"))
    rehearsal = Rehearsal(boot, boot, boot.console, Patience())
    for second in range(2000):
        boot.record.note(Seen.UNREGISTERED, second + 0.25)
        boot.record.note(Seen.REGISTERED, second + 0.75)
        rehearsal._serve(Milestone.SAVED, {})
    watched = rehearsal.watched
    assert [window.start for window in watched.windows] == [second + 0.25 for second in range(50)]
    assert (watched.more_windows, watched.more_seconds) == (1950, 975.0)
    assert (len(watched.out_of_memory), watched.more_out_of_memory) == (50, 1950)
    assert len(boot.record.seen) == 256 and boot.record.counts[Seen.REGISTERED] == 2000
    assert rehearsal._has(Seen.CAPTURE_BOOT) and not rehearsal._has(Seen.RESET)


def test_a_console_that_came_too_late_is_named():
    boot = CaptureBoot(iter([b"[ TIME ] Timed out waiting for device dev-hvc0.device - /dev/hvc0.\r\n"]))
    with pytest.raises(LostError) as raised:
        Rehearsal(boot, boot, boot.console, Patience())._back_to_production()
    assert " within 900 seconds: its systemd has waited for dev-hvc0 in vain, so no prompt comes: " in str(raised.value)
