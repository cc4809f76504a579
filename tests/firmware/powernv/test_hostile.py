"""A hostile guest: whatever it passes, in whatever order, the firmware answers and touches nothing that it shouldn't.

The usual run tries about 1,000 argument sets in single calls, and 1,000 steps of the state machine. The long run,

    FADUMP_LONG=1 pytest tests/firmware/powernv/test_hostile.py

tries 100,000 of each; it takes about 5 minutes of processor time.
"""

import os
from contextlib import ExitStack
from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from fadump.abi.powernv.mpipl import MpiplOperation, MpiplTag
from fadump.abi.powernv.opal import OpalStatus, OpalToken, RebootType
from fadump.firmware.contract import Answer, PassThrough, State, Trigger, TriggerKind
from fadump.memory.ranges import Range, RangeSet
from tests.firmware.hostile import WatchedMemory
from tests.firmware.powernv import linux as powernv_linux
from tests.firmware.powernv.guest import (
    AREAS,
    BOOT_MEMORY,
    BOOT_RANGE,
    COPY,
    CRASHED,
    DIMM,
    FREE,
    KERNEL_METADATA,
    LINEAR_MAPPING,
    LOWER,
    OPAL,
    TAG_VALUE,
    call,
    described_firmware,
    dump_node,
    firmware_in,
)
from tests.firmware.pseries.guest import RAM, guest_memory

LONG = bool(os.environ.get("FADUMP_LONG"))
SETS = 100_000 if LONG else 1_000
SETS_PER_EXAMPLE = 20
STEPS_PER_EXAMPLE = 50

STATUSES = {OpalStatus.SUCCESS, OpalStatus.PARAMETER, OpalStatus.RESOURCE}

_EDGES = (0, BOOT_MEMORY.end, COPY, OPAL.start, OPAL.end, AREAS.start, LOWER.end, DIMM.start, DIMM.end)
_POWERS = (1 << 31, 1 << 32, 1 << 60, 1 << 63, LINEAR_MAPPING, 0xD << 60, 1 << 64)
_NEAR = {
    (edge + step) & ((1 << 64) - 1) for edge in (*_EDGES, *_POWERS) for step in (-0x1000, -8, -7, -1, 0, 1, 0x1000)
}

u64 = st.sampled_from(sorted(_NEAR)) | st.integers(0, (1 << 64) - 1)
pages = st.integers(0, LOWER.end // 0x1_0000 - 1).map(lambda number: number * 0x1_0000)
places = st.sampled_from((0, 0x1_0000, COPY, COPY + 0x1_0000, FREE, OPAL.start, AREAS.start, AREAS.end - 0x1000))
addresses = st.one_of(places, places, pages, pages, pages.map(lambda address: address | LINEAR_MAPPING), u64)
lengths = st.sampled_from((1, 0x1000, 0x1000, 0x1_0000, 0x1_0001, 0x8_0000, (1 << 32) + 0x1000)) | u64
ranges = st.tuples(addresses, addresses, lengths)
tags = st.sampled_from(MpiplTag).map(int) | st.integers(0, (1 << 33))
calls = st.one_of(
    st.tuples(st.just(OpalToken.MPIPL_UPDATE), st.tuples(st.integers(0, 5) | u64, addresses, addresses, lengths)),
    st.tuples(st.just(OpalToken.MPIPL_REGISTER_TAG), st.tuples(tags, u64)),
    st.tuples(st.just(OpalToken.MPIPL_QUERY_TAG), st.tuples(tags, addresses)),
    st.tuples(st.just(OpalToken.CEC_REBOOT2), st.tuples(st.integers(0, 6) | u64, addresses)),
    st.tuples(st.sampled_from(OpalToken).map(int) | u64, st.lists(u64, max_size=9).map(tuple)),
)


def call_safely(firmware, memory, token, args):
    """Call; whatever comes of it is one of the outcomes, nothing was written and little was read."""
    memory.forget()
    outcome = call(firmware, memory, token, *args)
    assert not memory.writes
    assert len(memory.reads) <= 1
    assert sum(read.size_bytes for read in memory.reads) <= 1024
    if isinstance(outcome, Answer):
        assert outcome.status in STATUSES
        assert all(RAM.contains(Range.sized(address, len(data))) for address, data in outcome.writes)
        assert not outcome.writes or outcome.status == OpalStatus.SUCCESS
    elif isinstance(outcome, Trigger):
        assert len(outcome.message) <= 4 * 1024
        assert outcome.message.isprintable()
    else:
        assert outcome == PassThrough()
    return outcome


def check_registration(registration):
    """What must hold for anything that was registered, told in the plainest way."""
    assert len(registration.ranges) <= 63
    moved = [range_ for range_ in registration.ranges if not range_.is_in_place]
    for range_ in registration.ranges:
        assert RAM.contains(range_.read)
        assert RAM.contains(range_.result)
    assert not any(range_.result.overlaps(OPAL) for range_ in moved)
    assert not any(range_.result.overlaps(AREAS) or range_.read.overlaps(AREAS) for range_ in registration.ranges)
    for one, other in combinations(registration.ranges, 2):
        assert not one.result.overlaps(other.result)
    for writer in moved:
        assert not any(writer.result.overlaps(reader.read) for reader in registration.ranges)


def test_no_argument_set_does_harm():
    tried = 0

    @settings(max_examples=SETS // SETS_PER_EXAMPLE, deadline=None)
    @given(st.sampled_from(State), st.lists(calls, min_size=SETS_PER_EXAMPLE, max_size=SETS_PER_EXAMPLE))
    def try_them(state, argument_sets):
        nonlocal tried
        with guest_memory(WatchedMemory) as memory:
            firmware = firmware_in(state, memory)
            for token, args in argument_sets:
                outcome = call_safely(firmware, memory, token, args)
                if token not in firmware.tokens:
                    assert outcome == PassThrough()
                check_registration(firmware.registration)
                tried += 1

    try_them()
    assert tried >= SETS


class HostileGuest(RuleBasedStateMachine):
    """Every order of calls, resets and crashes, against a model of a few lines."""

    def __init__(self):
        super().__init__()
        self.open = ExitStack()
        self.memory = self.open.enter_context(guest_memory(WatchedMemory))
        self.memory.write(0x1_0123, b"\x5a" * 0x1_0000)
        self.firmware = described_firmware()
        self.triggered = self.invalidated = False
        self.dump = None
        self.holds_kernel = False

    def teardown(self):
        self.open.close()  # the canaries around guest memory are looked at here

    @property
    def state(self):
        if self.dump is not None:
            return State.ACTIVE
        if self.triggered:
            return State.TRIGGERED
        if self.firmware.registration.ranges:
            return State.REGISTERED
        return State.INVALIDATED if self.invalidated else State.IDLE

    @rule(fields=ranges)
    def add(self, fields):
        before = self.firmware.registration.ranges
        outcome = self.call(OpalToken.MPIPL_UPDATE, MpiplOperation.ADD_RANGE, *fields)
        if outcome.status == OpalStatus.SUCCESS:
            assert len(self.firmware.registration.ranges) == len(before) + 1
            self.registered()
        else:
            assert self.firmware.registration.ranges == before

    @rule()
    def add_like_linux(self):
        if self.call(OpalToken.MPIPL_UPDATE, MpiplOperation.ADD_RANGE, *BOOT_RANGE).status == OpalStatus.SUCCESS:
            self.registered()

    @rule(data=st.data())
    def remove(self, data):
        table = self.firmware.registration.ranges
        if table:
            chosen = data.draw(st.sampled_from(table))
            outcome = self.call(
                OpalToken.MPIPL_UPDATE, MpiplOperation.REMOVE_RANGE, chosen.source, chosen.destination, 0
            )
            assert outcome == Answer(OpalStatus.SUCCESS)
            assert self.firmware.registration.ranges == tuple(range_ for range_ in table if range_ != chosen)

    @rule(addresses_and_size=ranges)
    def remove_all(self, addresses_and_size):
        outcome = self.call(OpalToken.MPIPL_UPDATE, MpiplOperation.REMOVE_ALL, *addresses_and_size)
        assert outcome == Answer(OpalStatus.SUCCESS)
        assert self.firmware.registration.ranges == ()

    @rule(addresses_and_size=ranges)
    def free(self, addresses_and_size):
        outcome = self.call(OpalToken.MPIPL_UPDATE, MpiplOperation.FREE_PRESERVED_MEMORY, *addresses_and_size)
        assert outcome == Answer(OpalStatus.SUCCESS)
        if self.dump is not None:
            self.dump, self.invalidated = None, True
        assert self.call(OpalToken.MPIPL_QUERY_TAG, MpiplTag.KERNEL, TAG_VALUE) == Answer(OpalStatus.PARAMETER)

    @rule(tag=tags, value=st.just(KERNEL_METADATA) | u64)
    def register_tag(self, tag, value):
        outcome = self.call(OpalToken.MPIPL_REGISTER_TAG, tag, value)
        if tag == MpiplTag.KERNEL:
            assert outcome == Answer(OpalStatus.SUCCESS)
            assert self.firmware.registration.kernel_tag == value

    @rule(tag=tags, pointer=addresses)
    def query(self, tag, pointer):
        for address, data in self.call(OpalToken.MPIPL_QUERY_TAG, tag, pointer).writes:
            self.memory.write(address, data)

    @rule(pointer=addresses)
    def crash(self, pointer):
        outcome = self.call(OpalToken.CEC_REBOOT2, RebootType.MPIPL, pointer)
        assert isinstance(outcome, Trigger)
        self.triggered = True
        self.preserve(outcome)

    @rule(pointer=addresses)
    def crash_and_wait(self, pointer):
        assert isinstance(self.call(OpalToken.CEC_REBOOT2, RebootType.MPIPL, pointer), Trigger)
        self.triggered = True

    @rule(kind=st.sampled_from(TriggerKind), cpu=st.none() | st.integers(0, (1 << 32) - 1))
    def preserve_at_once(self, kind, cpu):
        self.preserve(Trigger(kind, "", cpu))

    @rule()
    def reset(self):
        self.firmware.on_reset()
        if not self.holds_kernel:
            self.dump = None
        self.triggered = self.invalidated = False

    @rule(address=st.integers(0, LOWER.end - 64), data=st.binary(min_size=1, max_size=64))
    def scribble(self, address, data):
        self.memory.write(address, data)

    @invariant()
    def the_model_agrees(self):
        assert self.firmware.state is self.state
        assert self.firmware.preserved is self.dump
        assert ("mpipl-boot" in dump_node(self.firmware).properties) == (self.dump is not None)
        check_registration(self.firmware.registration)

    def call(self, token, *args):
        return call_safely(self.firmware, self.memory, token, args)

    def registered(self):
        self.invalidated = False
        if not self.holds_kernel:
            self.dump = None

    def preserve(self, trigger):
        registration = self.firmware.registration
        held = self.dump if self.holds_kernel else None
        before = [self.memory.read(range_.source, range_.size_bytes) for range_ in registration.ranges]
        self.memory.forget()
        dump = self.firmware.preserve(trigger, self.memory, CRASHED)
        written = RangeSet(self.memory.writes)
        self.triggered = self.invalidated = False
        assert self.firmware.registration.ranges == ()
        if held is not None:
            assert dump is held
            assert not written
            return
        self.dump, self.holds_kernel = dump, bool(registration.ranges)
        destinations = RangeSet(range_.result for range_ in registration.ranges)
        assert not written - destinations - RangeSet([AREAS])
        assert not (destinations | RangeSet([AREAS])) - dump.keep
        assert not dump.keep - RAM
        assert not any(region.error_flags for region in dump.regions)
        for range_, content in zip(registration.ranges, before, strict=True):
            assert self.memory.read(range_.destination, range_.size_bytes) == content
        core = powernv_linux.opalcore(self.firmware, self.memory)
        assert core.crashing_pir == (trigger.crashing_cpu or 0)
        assert [size_bytes for _address, size_bytes in core.loads] == [OPAL.size_bytes]


HostileGuest.TestCase.settings = settings(
    max_examples=SETS // STEPS_PER_EXAMPLE, stateful_step_count=STEPS_PER_EXAMPLE, deadline=None
)
TestHostileGuest = HostileGuest.TestCase


def test_the_places_of_the_tests_do_not_meet():
    places = [BOOT_MEMORY, OPAL, Range.sized(COPY, BOOT_MEMORY.size_bytes), Range.sized(FREE, 0x4_0000), AREAS]
    assert not any(one.overlaps(other) for one, other in combinations(places, 2))
