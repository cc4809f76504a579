"""Registration, crash, capture, release, power cuts and a failing firmware in any order, on both platforms.

After every step: no byte that is kept is another one than at the crash, nothing below boot memory top is kept but what
must be, no dump is given back twice, and the firmware and the kernel are of one mind about where they are.
"""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from fadump.abi.platform import Platform
from fadump.firmware.contract import Answer, CallName, State
from fadump.firmware.faults import FaultyFirmware
from fadump.firmware.pseries import PseriesFirmware
from fadump.kernel.model import KernelModel
from fadump.machine.channel import (
    Crash,
    Crashing,
    Hello,
    Register,
    Registered,
    Release,
    Released,
    Reregister,
    Save,
    Saved,
    Unregister,
    Unregistered,
)
from fadump.memory.ranges import Range, RangeSet
from fadump.proof.crash_image import CrashImage
from fadump.proof.verify import Verifier
from fadump.run.faults import FAULT_NAMES
from tests.machine.embedded.bench import ALL, bench

REFUSALS = {
    Platform.PSERIES: ["hardware-error", "parameter-error", "busy", "9900", "-7"],
    Platform.POWERNV: ["parameter", "busy", "internal-error", "-26"],
}
WAITS = ("busy", "9900")
"""With RTAS these are no refusals: Linux asks again."""
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)
"""Without shrinking: it takes minutes, and a story of 15 steps can be read."""


class Counting(FaultyFirmware):
    """Tells of each call."""

    def __init__(self, firmware, names, count):
        super().__init__(firmware, names)
        self._count = count

    def call(self, call, memory):
        outcome = super().call(call, memory)
        self._count(call, outcome)
        return outcome


class Guest(RuleBasedStateMachine):
    """``held``: there is a dump that the kernel has not released; ``registered``: a crash would be dumped.

    ``damaged``: the kernel has used memory of a dump that the firmware then would not let go.
    """

    platform: Platform

    def __init__(self):
        super().__init__()
        self._context = bench(self.platform)
        self.guest = self._context.__enter__()
        self._names = FAULT_NAMES[self.platform]
        self.firmware = Counting(self.guest.firmware, self._names, self._count)
        self.guest.firmware = self.firmware
        self.verifier = Verifier()
        self.guest.on_crash, self.guest.on_dump = self._look, self._look_again
        self.kept = None
        self.dumps = self.invalidated = 0
        self.guest.to_registered()
        self.held, self.registered, self.damaged = False, True, False

    def teardown(self):
        self.verifier.close()
        if self.kept is not None:
            self.kept.close()
        self._context.__exit__(None, None, None)

    def _look(self, guest, trigger):
        if not self.held:
            self.verifier.crashed(guest.machine, guest.machine.cpus(), trigger.crashing_cpu)

    def _look_again(self, guest):
        """When the firmware has copied: what is to be kept from here on."""
        if not self.held:
            self.dumps += 1
            self._forget()
            self.kept = CrashImage.take(guest.machine.segments, [])

    def _count(self, call, outcome):
        self.invalidated += self.firmware.name_of(call) is CallName.INVALIDATE and outcome == Answer(0)

    def _forget(self):
        if self.kept is not None:
            self.kept.close()
        self.kept = None

    def _once(self, call, refusal):
        """The next such call gets this answer, if it is one; whether Linux takes it for a refusal."""
        if refusal is None:
            return False
        self.firmware.add(self._names.parse(f"{call}={refusal}*1"))
        return not (self.platform is Platform.PSERIES and refusal in WAITS)

    @rule(data=st.data())
    def register(self, data):
        refused = not self.held and not self.registered and self._once(CallName.REGISTER, self._refusal(data))
        assert self.guest.ask(Register(), Registered).word == ("failed" if self.held or refused else "registered")
        self.registered = not self.held and not refused

    @rule(data=st.data())
    def unregister(self, data):
        refused = self.registered and self._once(CallName.UNREGISTER, self._refusal(data))
        assert self.guest.ask(Unregister(), Unregistered).word == ("failed" if refused else "unregistered")
        self.registered = self.registered and refused

    @rule(cpu=st.sampled_from([0, 1]))
    def crash(self, cpu):
        self.guest.ask(Crash(cpu), Crashing)
        self._boot_again()

    @rule()
    def interrupt(self):
        self.guest.machine.inject_nmi()
        self._boot_again()

    def _boot_again(self):
        if self.platform is Platform.POWERNV and not self.registered:
            self.held = False  # Linux has no panic hook there: its reboot frees the memory
        self._booted(dumped=self.registered or self.held)

    @rule(data=st.data())
    def crash_that_the_firmware_refuses(self, data):
        """A kernel whose crash the firmware doesn't take for one reboots by itself."""
        refusal = self._refusal(data)
        if not self.registered or refusal is None or refusal in WAITS:
            return
        self.firmware.add(self._names.parse(f"terminate={refusal}*2"))
        self.guest.ask(Crash(0), Crashing)
        self._booted(dumped=False)
        self.firmware.clear()

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
        assert self.guest.until(Hello).mode == ("capture" if dumped else "first")
        self.held, self.registered = dumped, not dumped
        if not dumped:
            self.damaged = False

    @rule()
    def save(self):
        reply = self.guest.ask(Save(), Saved)
        if self.damaged:
            return
        assert reply.word == ("saved" if self.held else "failed")
        if self.held:
            verdict = self.verifier.judge(Path(f"/proc/self/fd/{self.guest.disk_fd}"), self.guest.dump)
            assert verdict.same, verdict
            assert not verdict.memory.not_in_dump - self._reserved_area(), verdict.memory.not_in_dump

    @precondition(lambda self: not self.damaged)
    @rule(data=st.data())
    def release(self, data):
        # With OPAL, Linux writes over its own metadata after a refusal, and no later boot knows of the dump any more.
        refusal = self._refusal(data) if self.platform is Platform.PSERIES else None
        refused = self.held and self._once(CallName.INVALIDATE, refusal)
        reply = self.guest.ask(Release(), Released)
        assert reply.word == ("released" if self.held else "failed")
        self.damaged = refused
        if not refused:
            self.registered, self.held = self.registered and not self.held, False

    @rule()
    def register_once_more(self):
        if not self.held:
            assert self.guest.ask(Reregister(), Registered).word == "registered"
            self.registered = True

    def _refusal(self, data):
        return data.draw(st.none() | st.sampled_from(REFUSALS[self.platform]))

    def _reserved_area(self):
        """From the first destination to behind the crash-info header, in pages; firmware's own memory too."""
        dump, page_bytes = self.guest.dump, 0x1_0000
        copies = [
            Range.sized(region.destination, region.requested_bytes)
            for region in dump.regions
            if region.source != region.destination
        ]
        start = min(copy.start for copy in copies if copy)
        end = dump.crash_info + 2 * page_bytes
        return RangeSet([Range(start, end), *(area.range for area in self.guest.machine.firmware_memory)])

    @invariant()
    def firmware_and_kernel_agree(self):
        expected = {State.ACTIVE} if self.held else {State.REGISTERED} if self.registered else None
        assert self.firmware.state in (expected or {State.IDLE, State.INVALIDATED})
        kernel = self.guest.machine.kernel
        assert (kernel.active, kernel.registered) == (self.held, self.registered)

    @invariant()
    def what_is_kept_is_what_must_be(self):
        if not self.held:
            return
        dump, ram = self.guest.dump, self.guest.machine.memory.ram
        top = max(extent.end for extent in dump.boot_memory)
        above = ram & RangeSet([Range(top, max(extent.end for extent in ram))])
        destinations = RangeSet(
            Range.sized(region.destination, region.copied_bytes) for region in dump.regions if region.copied_bytes
        )
        assert not (above | destinations) - dump.keep - self._firmwares_own()
        assert not dump.keep - above - destinations - self._firmwares_own()

    @invariant()
    def no_byte_that_is_kept_changes(self):
        if not self.held or self.damaged:
            return
        memory = self.guest.machine.memory
        for piece in self.guest.dump.keep - self._firmwares_own():
            for part in memory.populated(piece):
                assert memory.read(part.start, part.size_bytes) == self.kept.read(part.start, part.size_bytes), part

    def _firmwares_own(self):
        return RangeSet(area.range for area in self.guest.machine.firmware_memory)

    @invariant()
    def nothing_is_released_twice(self):
        assert self.invalidated <= self.dumps


def run(guest, platform, examples=12):
    machine = type("GuestOf" + platform, (guest,), {"platform": platform})
    # Each example is a machine with a GiB or more, so there are fewer than usual.
    run_state_machine_as_test(
        machine, settings=settings(max_examples=examples, stateful_step_count=15, deadline=None, phases=PHASES)
    )


@pytest.mark.parametrize("platform", ALL)
def test_in_any_order(platform):
    run(Guest, platform)


def forgets_its_dump_at_a_reset(monkeypatch):
    def on_reset(self):
        self._dump, self._registration, self._state = None, None, State.IDLE

    monkeypatch.setattr(PseriesFirmware, "on_reset", on_reset)


def keeps_nothing(monkeypatch):
    taken = PseriesFirmware.preserve

    def preserve(self, trigger, memory, cpus):
        self._dump = replace(taken(self, trigger, memory, cpus), keep=RangeSet())
        return self._dump

    monkeypatch.setattr(PseriesFirmware, "preserve", preserve)


def registers_nothing(monkeypatch):
    monkeypatch.setattr(PseriesFirmware, "_unregister", PseriesFirmware._invalidate)


def uses_memory_that_is_kept(monkeypatch):
    def usable(self):
        return RangeSet(self._state.system.memory.regions) - RangeSet([Range(0, 0x1000_0000)])

    monkeypatch.setattr(KernelModel, "_usable", usable)


@pytest.mark.parametrize(
    "mutation", [forgets_its_dump_at_a_reset, keeps_nothing, registers_nothing, uses_memory_that_is_kept]
)
def test_the_machine_can_fail(mutation, monkeypatch):
    """A firmware or a kernel that does wrong is found."""
    mutation(monkeypatch)
    with pytest.raises(AssertionError):
        run(Guest, Platform.PSERIES, examples=400)  # ends at the first that fails
