"""What is said of a system that has fallen back to kdump. A crash of one is in tests/real_linux/test_fallback.py."""

import io

import pytest

from fadump.cli.rehearse import _as_json
from fadump.firmware.contract import State
from fadump.observer import CrashBy, Record, Seen
from fadump.systems.console import WatchedConsole
from fadump.systems.fallback import Fallback, FallbackRehearsal
from fadump.systems.rehearsal import Patience, Watched
from fadump.systems.rehearse import Outcome, RehearsalResult

REASON = "fadump: Can't enable fadump with boot memory size (0x10000000) less than 0x14000000"
BEGINS = "the system is in production and has not registered: Linux has reserved 256 MiB for kdump instead"
MEMORY = b"[    0.3] Memory: 738624K/1048576K available (9216K kernel code)\r\n"
PROMPT = b"root@mini:~# "


@pytest.mark.parametrize(
    ("fallback", "saved", "ends"),
    [
        (
            Fallback(256 << 20, REASON, started=True),
            "it has saved /var/crash/1/dump.1, which is whole",
            f" ({REASON}); kdump is armed: a crash was made, and it has saved /var/crash/1/dump.1, which is whole",
        ),
        (
            Fallback(256 << 20, None, started=True, error="it is late"),
            None,
            "; kdump is armed: a crash was made, which has started its kernel and left no new dump; it is late",
        ),
        (
            Fallback(256 << 20, None),
            None,
            "; a crash was made, and no other kernel was seen to start: kdump is not armed, or silent",
        ),
    ],
)
def test_one_sentence_has_the_reason_and_whether_kdump_is_armed(fallback, saved, ends):
    assert fallback.sentence(saved) == BEGINS + ends


def test_programs_are_told_the_same():
    result = RehearsalResult(Outcome.NOT_REGISTERED, Watched(), [], 0, fallback=Fallback(256 << 20, REASON, True))
    assert _as_json(result, 1 << 30)["kdump"] == {"reserved_bytes": 256 << 20, "reason": REASON, "started": True}
    assert _as_json(RehearsalResult(Outcome.LOST, Watched(), [], 0), 1 << 30)["kdump"] is None


class FallenBack:
    """A machine and its session, in production without FADump; at each event its console gets a piece, or it is reset.

    Time passes once all are there.
    """

    def __init__(self, before, events):
        self.record = Record(0.0)
        self.refusal = ""
        self.firmware_state = State.IDLE
        self.console = WatchedConsole(io.BytesIO())
        self.console.write(before)
        self.typed = []
        self._events = iter(events)
        self._seconds = 0.0

    def call(self):
        pass

    def clock(self):
        return self._seconds

    def call_after(self, seconds):
        pass

    def type(self, keys):
        self.typed.append(keys)

    def serve(self):
        event = next(self._events, None)
        if event is None:
            self._seconds += 1
        elif event is Seen.RESET:
            self.record.note(event, self._seconds)
        else:
            self.console.write(event)


RESERVED = b"[ 0.0] Reserving 256MB of memory at 128MB for crashkernel (System RAM: 4096MB)\r\n"
PANIC = b"\r\n[ 99.0] Kernel panic - not syncing: sysrq triggered crash\r\n"


def follow(before, *events):
    machine = FallenBack(before, events)
    rehearsal = FallbackRehearsal(machine, machine, machine.console, Patience())
    return machine, rehearsal.follow_kdump(CrashBy.SYSRQ)


def test_a_crash_kernel_is_seen_without_any_reset():
    machine, fallback = follow(RESERVED + MEMORY + PROMPT, PANIC, MEMORY, Seen.RESET, MEMORY + PROMPT)
    assert fallback == Fallback(256 << 20, None, started=True)
    assert machine.typed == [b"echo c > /proc/sysrq-trigger\n", b"poweroff\n"]


def test_the_kernel_of_a_reboot_is_no_crash_kernel():
    _machine, fallback = follow(RESERVED + MEMORY + PROMPT, PANIC, Seen.RESET, MEMORY + PROMPT)
    assert fallback == Fallback(256 << 20, None, started=False)


def test_a_kernel_that_hangs_is_not_waited_for():
    hangs = b"[ 99.1] ---[ end Kernel panic - not syncing: sysrq triggered crash ]---\r\n"
    machine, fallback = follow(RESERVED + MEMORY + PROMPT, PANIC, hangs)
    assert (fallback.started, machine.clock()) == (False, 0.0)
    assert fallback.error.startswith("the kernel has panicked, and has started no other\n  | ")


def test_a_system_that_has_nothing_reserved_is_left_alone():
    machine, fallback = follow(MEMORY + PROMPT)
    assert fallback is None and machine.typed == []
