"""What the table of statuses can't show: sequences of calls, what is remembered, what a trigger carries."""

import pytest

from fadump.abi.pseries.dump_structure import DumpStructure
from fadump.abi.pseries.rtas import DumpCommand, RtasStatus
from fadump.errors import FadumpError
from fadump.firmware.contract import Answer, PassThrough, State, Trigger, TriggerKind
from fadump.firmware.pseries import PseriesFirmware
from tests.firmware.pseries.guest import (
    BOOT_COPY,
    CRASHED,
    DIMM,
    MESSAGE,
    OS_TERM_TOKEN,
    STRUCTURE,
    UPPER,
    WORK_BUFFER,
    call,
    configure,
    crash,
    described_firmware,
    filled,
    firmware_in,
    guest_memory,
    os_term,
    presented,
    register,
)


@pytest.fixture
def memory():
    with guest_memory() as memory:
        yield memory


def test_before_the_first_handover_no_call_is_ours(memory):
    firmware = PseriesFirmware()
    assert firmware.tokens == frozenset()
    assert call(firmware, memory, OS_TERM_TOKEN, (0,)) == PassThrough()


def test_what_was_registered_can_be_looked_at(memory):
    firmware = described_firmware()
    register(firmware, memory)
    assert firmware.registration == STRUCTURE
    configure(firmware, memory, DumpCommand.UNREGISTER, WORK_BUFFER, 440)
    assert firmware.registration is None


def test_the_structure_is_read_once(memory):
    firmware = firmware_in(State.REGISTERED, memory)
    memory.write(WORK_BUFFER, b"\xff" * STRUCTURE.size_bytes)
    filled(memory)
    dump = crash(firmware, memory)
    assert [region.type for region in dump.regions] == [section.type for section in STRUCTURE.sections]
    assert memory.read(BOOT_COPY.destination + 0x123, 0x100) == memory.read(0x123, 0x100)


def test_a_crash_with_a_registration_triggers_a_dump_with_the_kernels_message(memory):
    firmware = firmware_in(State.REGISTERED, memory)
    memory.write(MESSAGE, b"OS panic: sysrq triggered crash\n\0old bytes")
    assert os_term(firmware, memory, MESSAGE) == Trigger(TriggerKind.OS_TERM, "OS panic: sysrq triggered crash", 1)
    assert firmware.state is State.TRIGGERED


@pytest.mark.parametrize(
    ("address", "text", "message"),
    [
        (0, b"", ""),
        (UPPER.end, b"", ""),
        (0xFFFF_FFFF, b"", ""),
        (MESSAGE, b"", ""),
        (MESSAGE, b"\x1b[2Jtwo\nlines \xc3\xa9\0", "\\x1b[2Jtwo\\x0alines \\xc3\\xa9"),
        (DIMM.end - 3, b"end", "end"),
        (UPPER.start - 2, b"both sides\0", "both sides"),
        (MESSAGE, b"x" * 0x1000, "x" * 1024),
    ],
    ids=["null", "in the hole", "in no RAM", "empty", "unprintable", "at the end of RAM", "across files", "endless"],
)
def test_a_message_is_bounded_and_printable(memory, address, text, message):
    firmware = firmware_in(State.REGISTERED, memory)
    if text:
        memory.write(address, text)
    assert os_term(firmware, memory, address) == Trigger(TriggerKind.OS_TERM, message, 1)


def test_a_second_crash_keeps_the_first_dump(memory):
    firmware = firmware_in(State.REGISTERED, memory)
    filled(memory, seed=1)
    first = crash(firmware, memory)
    saved = memory.read(BOOT_COPY.destination, BOOT_COPY.requested_bytes)
    filled(memory, seed=2)
    trigger = os_term(firmware, memory)
    assert isinstance(trigger, Trigger)
    assert firmware.preserve(trigger, memory, []) is first
    assert firmware.state is State.ACTIVE
    assert memory.read(BOOT_COPY.destination, BOOT_COPY.requested_bytes) == saved
    assert presented(firmware) == first.structure


@pytest.mark.parametrize("kind", TriggerKind, ids=lambda kind: kind.value)
@pytest.mark.parametrize("state", [State.IDLE, State.INVALIDATED], ids=lambda state: state.value)
def test_without_a_registration_there_is_nothing_to_preserve(memory, kind, state):
    firmware = firmware_in(state, memory)
    with pytest.raises(FadumpError, match=f"no dump can be taken for this {kind.value}.*not registered"):
        firmware.preserve(Trigger(kind, "", None), memory, CRASHED)
    assert firmware.state is state


@pytest.mark.parametrize("kind", TriggerKind, ids=lambda kind: kind.value)
def test_every_trigger_takes_the_registered_dump(memory, kind):
    firmware = firmware_in(State.REGISTERED, memory)
    dump = firmware.preserve(Trigger(kind, "", None), memory, CRASHED)
    assert firmware.state is State.ACTIVE
    assert firmware.preserved is dump


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (State.IDLE, State.IDLE),
        (State.REGISTERED, State.IDLE),
        (State.TRIGGERED, State.IDLE),
        (State.ACTIVE, State.ACTIVE),
        (State.INVALIDATED, State.IDLE),
    ],
    ids=lambda state: state.value,
)
def test_a_plain_reset_drops_a_registration_and_keeps_a_dump(memory, before, after):
    firmware = firmware_in(before, memory)
    dump = presented(firmware)
    firmware.on_reset()
    assert firmware.state is after
    assert firmware.registration is None
    assert presented(firmware) == dump
    if after is not State.ACTIVE:
        assert register(firmware, memory) == Answer(RtasStatus.SUCCESS)


def test_three_crashes_in_one_run(memory):
    firmware = described_firmware()
    for seed in range(3):
        assert register(firmware, memory) == Answer(RtasStatus.SUCCESS)
        filled(memory, seed)
        trigger = os_term(firmware, memory)
        assert isinstance(trigger, Trigger)
        dump = firmware.preserve(trigger, memory, CRASHED)
        assert presented(firmware) == dump.structure
        assert memory.read(BOOT_COPY.destination, 0x8_0000) == memory.read(0, 0x8_0000)
        assert configure(firmware, memory, DumpCommand.INVALIDATE, 0, 440) == Answer(RtasStatus.SUCCESS)
        assert firmware.preserved is None
        assert presented(firmware) is None


def test_the_automatic_dump_time_is_kept(memory):
    firmware = described_firmware()
    register(firmware, memory, DumpStructure(sections=STRUCTURE.sections, max_time_auto_ms=30_000))
    assert firmware.registration is not None
    assert firmware.registration.max_time_auto_ms == firmware.nmi_limit_ms == 30_000
    assert DumpStructure.decode(crash(firmware, memory).structure).max_time_auto_ms == 30_000
