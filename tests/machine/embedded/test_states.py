"""Registration, crash, capture, release, power cuts in any order: firmware and kernel agree, and no byte is lost."""

from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from fadump.abi.platform import Platform
from fadump.firmware.core import State
from fadump.machine.core import Crash, Register, Release, Save, Unregister
from fadump.verify import Verifier
from tests.machine.embedded.bench import ALL, bench


class Guest(RuleBasedStateMachine):
    """``held``: there is a dump that the kernel has not released; ``registered``: a crash would be dumped."""

    platform: Platform

    def __init__(self):
        super().__init__()
        self._context = bench(self.platform)
        self.guest = self._context.__enter__()
        self.verifier = Verifier()
        self.guest.on_crash = self._look
        self.guest.to_registered()
        self.held, self.registered = False, True

    def teardown(self):
        self.verifier.close()
        self._context.__exit__(None, None, None)

    def _look(self, guest, trigger):
        if not self.held:
            self.verifier.crashed(guest.machine, guest.machine.cpus(), trigger.crashing_cpu)

    @rule()
    def register(self):
        assert self.guest.ask(Register(), "registered").step == ("failed" if self.held else "registered")
        self.registered = not self.held

    @rule()
    def unregister(self):
        assert self.guest.ask(Unregister(), "unregistered").step == "unregistered"
        self.registered = False

    @rule(cpu=st.sampled_from([0, 1]))
    def crash(self, cpu):
        self.guest.ask(Crash(cpu), "crashing")
        self._boot_again()

    @rule()
    def interrupt(self):
        self.guest.machine.inject_nmi()
        self._boot_again()

    def _boot_again(self):
        if self.platform is Platform.POWERNV and not self.registered:
            self.held = False  # Linux has no panic hook there: its reboot frees the memory
        self._booted(dumped=self.registered or self.held)

    @rule()
    def platform_ends_it(self):
        if self.registered or self.held:
            self.guest.platform_crash()
            self._booted(dumped=True)

    @rule()
    def cut_the_power(self):
        self.guest.machine.press_reset()
        self._booted(dumped=self.held)

    def _booted(self, *, dumped):
        assert self.guest.until("hello").fields["mode"] == ("capture" if dumped else "first")
        self.held, self.registered = dumped, not dumped

    @rule()
    def save(self):
        reply = self.guest.ask(Save(), "saved")
        assert reply.step == ("saved" if self.held else "failed")
        if self.held:
            verdict = self.verifier.judge(Path(f"/proc/self/fd/{self.guest.disk_fd}"), self.guest.dump)
            assert verdict.same, verdict

    @rule()
    def release(self):
        assert self.guest.ask(Release(), "released").step == ("released" if self.held else "failed")
        self.registered, self.held = self.registered and not self.held, False

    @invariant()
    def firmware_and_kernel_agree(self):
        expected = {State.ACTIVE} if self.held else {State.REGISTERED} if self.registered else None
        assert self.guest.firmware.state in (expected or {State.IDLE, State.INVALIDATED})


@pytest.mark.parametrize("platform", ALL)
def test_in_any_order(platform):
    machine = type("GuestOf" + platform, (Guest,), {"platform": platform})
    # Each example is a machine with a GiB or more, so there are fewer than usual.
    run_state_machine_as_test(machine, settings=settings(max_examples=12, stateful_step_count=15, deadline=None))
