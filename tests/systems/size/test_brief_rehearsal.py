"""When a try is over: as soon as its result is certain, and not before."""

import re
from itertools import chain, repeat

import pytest

from fadump.firmware.contract import State
from fadump.systems.rehearsal import LostError, Patience, Service
from fadump.systems.size.brief_rehearsal import BriefRehearsal
from tests.systems.test_rehearsal import CaptureBoot

INVOKED = b"[    9.0] python3 invoked oom-killer: gfp_mask=0xcc0, order=0, oom_score_adj=0\n"
KILLED = b"[    9.1] Out of memory: Killed process 123 (python3) total-vm:1kB, anon-rss:1kB\n"
PROMPT = b"\nmini login: "


class SavingBoot(CaptureBoot):
    """One whose dump is dealt with so many events later."""

    def __init__(self, pieces, events):
        super().__init__(pieces)
        self.left = events

    def serve(self):
        super().serve()
        self.left -= 1
        if not self.left:
            self.firmware_state = State.IDLE

    def reached(self, milestone):
        pass


def rehearsal(boot, **patience):
    return BriefRehearsal(boot, boot, boot.console, Patience(**patience))


def test_a_killed_process_ends_a_try_at_once():
    boot = CaptureBoot(iter([INVOKED, KILLED, *repeat(b"more\n", 10)]))
    with pytest.raises(
        LostError, match=f"^the capture kernel has killed a process; .*{re.escape('Killed process 123')}"
    ):
        rehearsal(boot)._to_end_of_saving()
    assert boot.clock() == 0


def test_a_kernel_that_only_looks_for_something_to_kill_may_still_save():
    boot = SavingBoot(chain([INVOKED], repeat(b"")), 20)
    brief = rehearsal(boot)
    brief._to_end_of_saving()
    assert brief.watched.service is Service.RELEASED
    assert brief.watched.out_of_memory


def test_what_is_killed_after_the_dump_was_dealt_with_is_nobodys_concern():
    boot = SavingBoot(iter([b"", KILLED]), 1)
    brief = rehearsal(boot)
    brief._to_end_of_saving()
    assert brief.watched.service is Service.RELEASED


def test_a_service_may_begin_behind_the_login_prompt():
    boot = SavingBoot(iter([PROMPT]), 100)
    brief = rehearsal(boot, idle=60.0)
    brief._to_end_of_saving()
    assert brief.watched.service is Service.RELEASED
    assert brief.watched.saving_seconds > 5


def test_a_system_that_stays_at_its_prompt_has_done_nothing():
    boot = CaptureBoot(iter([PROMPT]))
    brief = rehearsal(boot, idle=60.0)
    brief._to_end_of_saving()
    assert brief.watched.service is Service.NOTHING
    assert brief.watched.saving_seconds is None
    assert boot.clock() >= 60


class RegisteringBoot(CaptureBoot):
    """A kernel that registers one range after the other; its crash ends the story."""

    def __init__(self):
        super().__init__(iter([]))
        self.firmware_state = State.REGISTERED
        self.crashed_at = None

    def reached(self, milestone):
        pass

    def crash(self, by):
        self.crashed_at = self.clock()
        raise LostError("crashed")


def test_a_kernel_is_not_crashed_before_it_is_through_with_registering():
    """On powernv the firmware has registered something after the first of several calls."""
    boot = RegisteringBoot()
    with pytest.raises(LostError, match="crashed"):
        rehearsal(boot).run()
    assert boot.crashed_at >= 2
