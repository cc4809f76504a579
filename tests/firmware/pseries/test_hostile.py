"""A hostile guest: whatever it passes, in whatever order, the firmware answers and touches nothing that it shouldn't.

The usual run tries about 1,000 argument sets in single calls, and 1,000 steps of the state machine. The long run,

    FADUMP_LONG=1 pytest tests/firmware/pseries/test_hostile.py

tries 100,000 of each; it takes about 7 minutes of processor time.
"""

import os
from contextlib import ExitStack
from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fadump.abi.pseries.dump_structure import DumpStatus, DumpStructure
from fadump.abi.pseries.register_save_area import decode
from fadump.abi.pseries.rtas import DumpCommand, RtasStatus
from fadump.firmware.contract import Answer, PassThrough, State, Trigger, TriggerKind
from fadump.memory.ranges import Range, RangeSet
from tests.firmware.hostile import WatchedMemory, arguments, registrations, results, u32
from tests.firmware.pseries.guest import (
    ANSWER,
    BOOT_COPY,
    CONFIGURE_TOKEN,
    CRASHED,
    OS_TERM_TOKEN,
    OTHER_TOKEN,
    RAM,
    STRUCTURE,
    WORK_BUFFER,
    call,
    described_firmware,
    filled,
    firmware_in,
    guest_memory,
    presented,
)

LONG = bool(os.environ.get("FADUMP_LONG"))
SETS = 100_000 if LONG else 1_000
SETS_PER_EXAMPLE = 20
STEPS_PER_EXAMPLE = 50

STATUSES = {RtasStatus.SUCCESS, RtasStatus.PARAMETER_ERROR, RtasStatus.ALREADY_REGISTERED, RtasStatus.DUMP_ACTIVE}
DONE = DumpStatus.PERFORMED | DumpStatus.TRIGGERED

tokens = st.sampled_from((CONFIGURE_TOKEN, CONFIGURE_TOKEN, CONFIGURE_TOKEN, OS_TERM_TOKEN, OTHER_TOKEN)) | u32
calls = st.one_of(
    st.tuples(tokens, arguments, results, st.just((0, b""))),
    registrations().map(
        lambda drawn: (CONFIGURE_TOKEN, (DumpCommand.REGISTER, drawn[0], drawn[1]), 1, (drawn[0], drawn[2]))
    ),
)


def test_no_argument_set_does_harm():
    tried = 0

    @settings(max_examples=SETS // SETS_PER_EXAMPLE, deadline=None)
    @given(st.sampled_from(State), st.lists(calls, min_size=SETS_PER_EXAMPLE, max_size=SETS_PER_EXAMPLE))
    def try_them(state, argument_sets):
        nonlocal tried
        with guest_memory(WatchedMemory) as memory:
            firmware = firmware_in(state, memory)
            for token, args, returns, (address, data) in argument_sets:
                put(memory, address, data)
                outcome = call_safely(firmware, memory, token, args, returns)
                if token not in firmware.tokens:
                    assert outcome == PassThrough()
                tried += 1

    try_them()
    assert tried >= SETS


class HostileGuest(RuleBasedStateMachine):
    """Every order of calls, resets and crashes, against a model of a few lines."""

    def __init__(self):
        super().__init__()
        self.open = ExitStack()
        self.memory = self.open.enter_context(guest_memory(WatchedMemory))
        self.firmware = described_firmware()
        self.state = State.IDLE
        self.registered = b""
        self.trigger: Trigger | None = None
        self.dump = None

    def teardown(self):
        self.open.close()  # the canaries around guest memory are looked at here

    @initialize()
    def boot(self):
        filled(self.memory)

    @rule(args=arguments, returns=results)
    def any_configure(self, args, returns):
        outcome = self.call(CONFIGURE_TOKEN, args, returns)
        assert isinstance(outcome, Answer)
        if outcome.status == RtasStatus.SUCCESS:
            self.note_success(args)
        if len(args) != 3 or returns != 1 or args[0] not in tuple(DumpCommand):
            assert outcome.status == RtasStatus.PARAMETER_ERROR

    @rule(registration=registrations())
    def register_something(self, registration):
        address, length, data = registration
        put(self.memory, address, data)
        self.register(address, length)

    @rule()
    def register_like_linux(self):
        put(self.memory, WORK_BUFFER, STRUCTURE.encode())
        outcome = self.register(WORK_BUFFER, STRUCTURE.size_bytes)
        if self.state is State.REGISTERED:
            assert outcome.status in (RtasStatus.SUCCESS, RtasStatus.ALREADY_REGISTERED)

    @rule(address=u32, length=u32)
    def unregister(self, address, length):
        outcome = self.call(CONFIGURE_TOKEN, (DumpCommand.UNREGISTER, address, length))
        busy = self.state in (State.TRIGGERED, State.ACTIVE)
        assert outcome == Answer(RtasStatus.DUMP_ACTIVE if busy else RtasStatus.SUCCESS)
        if self.state is State.REGISTERED:
            self.state = State.IDLE

    @rule(address=u32, length=u32)
    def invalidate(self, address, length):
        outcome = self.call(CONFIGURE_TOKEN, (DumpCommand.INVALIDATE, address, length))
        active = self.state is State.ACTIVE
        assert outcome == Answer(RtasStatus.SUCCESS if active else RtasStatus.PARAMETER_ERROR)
        if active:
            self.state, self.dump = State.INVALIDATED, None

    @rule(args=arguments, returns=results)
    def os_term(self, args, returns):
        outcome = self.call(OS_TERM_TOKEN, args, returns)
        if self.state in (State.IDLE, State.INVALIDATED):
            assert outcome == PassThrough()
            return
        assert isinstance(outcome, Trigger)
        assert len(outcome.message) <= 4 * 1024
        assert outcome.message.isprintable()
        self.trigger = outcome
        if self.state is State.REGISTERED:
            self.state = State.TRIGGERED

    @precondition(lambda self: self.state in (State.REGISTERED, State.TRIGGERED, State.ACTIVE))
    @rule(kind=st.sampled_from(TriggerKind))
    def preserve(self, kind):
        trigger = self.trigger or Trigger(kind, "", None)
        self.trigger = None
        before = self.memory.read(BOOT_COPY.source, BOOT_COPY.requested_bytes)
        self.memory.forget()
        dump = self.firmware.preserve(trigger, self.memory, CRASHED)
        written = RangeSet(self.memory.writes)
        if self.dump is not None:
            assert dump is self.dump
            assert not written
            return
        self.state, self.dump = State.ACTIVE, dump
        self.check_dump(dump, written)
        if self.registered == STRUCTURE.encode():
            assert self.memory.read(BOOT_COPY.destination, BOOT_COPY.requested_bytes) == before

    @rule()
    def reset(self):
        self.firmware.on_reset()
        self.trigger = None
        if self.state is not State.ACTIVE:
            self.state = State.IDLE

    @rule(address=u32, data=st.binary(min_size=1, max_size=64))
    def scribble(self, address, data):
        put(self.memory, address, data)

    @invariant()
    def the_model_agrees(self):
        assert self.firmware.state is self.state
        assert self.firmware.preserved is self.dump
        assert presented(self.firmware) == (None if self.dump is None else self.dump.structure)

    def call(self, token, args, returns=1):
        return call_safely(self.firmware, self.memory, token, args, returns)

    def register(self, address, length):
        outcome = self.call(CONFIGURE_TOKEN, (DumpCommand.REGISTER, address, length))
        if self.state is State.REGISTERED:
            assert outcome == Answer(RtasStatus.ALREADY_REGISTERED)
        elif self.state in (State.TRIGGERED, State.ACTIVE):
            assert outcome == Answer(RtasStatus.DUMP_ACTIVE)
        elif outcome.status == RtasStatus.SUCCESS:
            self.note_success((DumpCommand.REGISTER, address, length))
        return outcome

    def note_success(self, args):
        command, address, length = args
        if command == DumpCommand.REGISTER:
            self.state = State.REGISTERED
            self.registered = self.memory.read(address, length)
            check_registration(self.registered)
        elif command == DumpCommand.UNREGISTER:
            self.state = State.IDLE if self.state is State.REGISTERED else self.state
        else:
            self.state, self.dump = State.INVALIDATED, None

    def check_dump(self, dump, written):
        structure = DumpStructure.decode(dump.structure)
        asked = DumpStructure.decode(self.registered)
        assert len(dump.structure) == len(self.registered)
        assert structure.status == DONE
        assert not dump.keep - RAM
        destinations = RangeSet()
        for before, after in zip(asked.sections, structure.sections, strict=True):
            assert after.error_flags == 0
            assert after.copied_bytes == (before.requested_bytes if before.request_flags & 1 else 0)
            destination = Range.sized(before.destination, after.copied_bytes)
            destinations |= RangeSet([destination])
            if before.type == 1 and after.copied_bytes:
                assert decode(self.memory.read(destination.start, destination.size_bytes)) == list(CRASHED)
        assert not written - destinations
        assert not destinations - dump.keep


HostileGuest.TestCase.settings = settings(
    max_examples=SETS // STEPS_PER_EXAMPLE, stateful_step_count=STEPS_PER_EXAMPLE, deadline=None
)
TestHostileGuest = HostileGuest.TestCase


def call_safely(firmware, memory, token, args, returns):
    """Call; whatever comes of it is one of the outcomes, nothing was written and little was read."""
    memory.forget()
    outcome = call(firmware, memory, token, args, returns)
    assert not memory.writes
    assert len(memory.reads) <= 1
    assert sum(read.size_bytes for read in memory.reads) <= 1024
    assert isinstance(outcome, PassThrough | Trigger) or outcome.status in STATUSES
    return outcome


def check_registration(data):
    """What must hold for anything that was registered, told in the plainest way."""
    sections = [section for section in DumpStructure.decode(data).sections if section.requested_bytes]
    placed = [Range.sized(section.destination, section.requested_bytes) for section in sections]
    assert all(RAM.contains(destination) for destination in placed)
    assert not any(one.overlaps(other) for one, other in combinations(placed, 2))
    for section, destination in zip(sections, placed, strict=True):
        for other in sections:
            source = Range.sized(other.source, other.requested_bytes)
            if other.type == 1:
                assert source.start == 0
                continue
            assert RAM.contains(source)
            if destination.overlaps(source):
                assert section.source == section.destination


def put(memory, address, data):
    """The guest writes to its own memory, if there is any at that address."""
    if memory.ram.contains(Range.sized(address, len(data))):
        memory.write(address, data)


def test_the_work_buffer_and_the_answer_do_not_meet():
    assert not Range.sized(WORK_BUFFER, 440).overlaps(Range.sized(ANSWER, 4))
