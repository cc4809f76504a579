"""What the status table can't show: messages, where tags go, and the order of boots."""

import pytest

from fadump.abi.powernv.mpipl import MpiplOperation, MpiplTag
from fadump.abi.powernv.opal import OpalToken, RebootType
from fadump.firmware.contract import Answer, FirmwareCall, PassThrough, State, Trigger, TriggerKind
from fadump.firmware.message import LONGEST_MESSAGE_BYTES
from fadump.firmware.powernv import PowernvFirmware
from fadump.firmware.powernv.ranges import CopyRange
from tests.firmware.powernv.guest import (
    BOOT_MEMORY,
    BOOT_RANGE,
    COPY,
    CRASHED,
    FREE,
    KERNEL_METADATA,
    LINEAR_MAPPING,
    LOWER,
    MESSAGE,
    TAG_VALUE,
    call,
    crash,
    described_firmware,
    firmware_in,
    free,
    platform_crash,
    query,
    reboot,
    register,
    register_tag,
    update,
)
from tests.firmware.pseries.guest import guest_memory


@pytest.fixture
def memory():
    with guest_memory() as memory:
        yield memory


def tags(firmware, memory):
    return [query(firmware, memory, tag) for tag in MpiplTag]


def test_the_tokens_are_known_from_the_start():
    assert PowernvFirmware().tokens == {116, 173, 174, 175}


@pytest.mark.parametrize("token", OpalToken)
def test_nobody_is_served_before_the_first_handover(memory, token):
    firmware = PowernvFirmware()
    assert call(firmware, memory, token, 3, 0, 0, 0) == PassThrough()
    assert firmware.state is State.IDLE


def test_every_argument_register_may_be_passed(memory):
    """The machine passes r3 to r10, whatever the call takes."""
    firmware = described_firmware()
    args = (MpiplOperation.ADD_RANGE, *BOOT_RANGE, 5, 6, 7, 8)
    assert firmware.call(FirmwareCall(0, 173, args, 1, 0), memory) == Answer(0)
    assert firmware.registration.ranges == (CopyRange(*BOOT_RANGE),)


def test_addresses_are_kept_without_their_prefix_and_sizes_cut_to_32_bits(memory):
    firmware = described_firmware()
    update(firmware, memory, MpiplOperation.ADD_RANGE, LINEAR_MAPPING | 0x1000, FREE, (7 << 32) + 0x2000)
    assert firmware.registration.ranges == (CopyRange(0x1000, FREE, 0x2000),)
    assert update(firmware, memory, MpiplOperation.REMOVE_RANGE, 0x1000, LINEAR_MAPPING | FREE) == Answer(0)
    assert firmware.registration.ranges == ()


def test_removing_one_range_leaves_the_others(memory):
    firmware = described_firmware()
    ranges = [(0x1000 * number, FREE + 0x1000 * number, 0x1000) for number in range(3)]
    register(firmware, memory, ranges)
    update(firmware, memory, MpiplOperation.REMOVE_RANGE, *ranges[1][:2])
    assert firmware.registration.ranges == (CopyRange(*ranges[0]), CopyRange(*ranges[2]))
    assert update(firmware, memory, MpiplOperation.ADD_RANGE, *ranges[1]) == Answer(0)


def test_unregistering_keeps_the_tags(memory):
    """Linux sets them once in a boot, and registers and unregisters as often as it is asked to."""
    firmware = firmware_in(State.REGISTERED, memory)
    update(firmware, memory, MpiplOperation.REMOVE_ALL, 0, 0, 0)
    assert update(firmware, memory, MpiplOperation.ADD_RANGE, *BOOT_RANGE) == Answer(0)
    crash(firmware, memory)
    assert query(firmware, memory, MpiplTag.KERNEL) == KERNEL_METADATA


def test_tags_are_what_the_last_crash_left(memory):
    firmware = firmware_in(State.REGISTERED, memory)
    assert tags(firmware, memory) == [0, 0, 0, 0]  # no crash yet
    crash(firmware, memory)
    cpu, opal, kernel, boot_memory = tags(firmware, memory)
    assert cpu and opal and cpu != opal
    assert (kernel, boot_memory) == (KERNEL_METADATA, BOOT_MEMORY.end)
    register_tag(firmware, memory, MpiplTag.KERNEL, 0x1234)  # for the next one
    assert query(firmware, memory, MpiplTag.KERNEL) == KERNEL_METADATA


def test_freed_tags_are_gone_until_the_next_boot(memory):
    firmware = firmware_in(State.ACTIVE, memory)
    free(firmware, memory)
    assert tags(firmware, memory) == [None] * 4
    firmware.on_reset()
    assert tags(firmware, memory) == [0] * 4


def test_tags_of_a_registration_do_not_outlive_a_reset(memory):
    firmware = firmware_in(State.REGISTERED, memory)
    firmware.on_reset()
    crash(firmware, memory)
    assert tags(firmware, memory)[2:] == [0, 0]


def test_a_tag_is_set_to_its_last_value(memory):
    firmware = firmware_in(State.REGISTERED, memory)
    register_tag(firmware, memory, MpiplTag.KERNEL, 0x1234)
    register_tag(firmware, memory, MpiplTag.KERNEL, 0)
    crash(firmware, memory)
    assert query(firmware, memory, MpiplTag.KERNEL) == 0


def test_a_tag_is_written_big_endian_where_the_pointer_says(memory):
    firmware = firmware_in(State.ACTIVE, memory)
    outcome = call(firmware, memory, OpalToken.MPIPL_QUERY_TAG, MpiplTag.KERNEL, LINEAR_MAPPING | TAG_VALUE)
    assert outcome == Answer(0, writes=((TAG_VALUE, KERNEL_METADATA.to_bytes(8, "big")),))


def test_a_refused_query_writes_nothing(memory):
    outcome = call(firmware_in(State.ACTIVE, memory), memory, OpalToken.MPIPL_QUERY_TAG, 4, TAG_VALUE)
    assert outcome == Answer(-1)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (b"Kernel panic\0and more", "Kernel panic"),
        (b"\0", ""),
        (b"two\nlines \r\n\0", "two\\x0alines"),
        (b"\xff\xfe\0", "\\xff\\xfe"),
        (b"x" * 2000, "x" * LONGEST_MESSAGE_BYTES),
    ],
    ids=["text", "empty", "control characters", "not ASCII", "without an end"],
)
def test_the_message_is_shortened_and_made_printable(memory, written, message):
    memory.write(MESSAGE, written)
    for pointer in (MESSAGE, LINEAR_MAPPING | MESSAGE):
        assert reboot(described_firmware(), memory, pointer).message == message


def test_a_message_ends_where_ram_ends(memory):
    memory.write(LOWER.end - 4, b"last")
    assert reboot(described_firmware(), memory, LOWER.end - 4).message == "last"


@pytest.mark.parametrize("pointer", [0, LINEAR_MAPPING, LOWER.end, 0xD000_0000_0010_1000, (1 << 64) - 1])
def test_a_message_that_is_nowhere_is_empty(memory, pointer):
    memory.write(0, b"no message")
    assert reboot(described_firmware(), memory, pointer).message == ""


def test_the_crashing_cpu_is_the_one_that_calls(memory):
    outcome = call(described_firmware(), memory, OpalToken.CEC_REBOOT2, RebootType.MPIPL, 0, cpu_id=5)
    assert outcome == Trigger(TriggerKind.OS_TERM, "", 5)


def test_the_platform_needs_no_call(memory):
    firmware = firmware_in(State.REGISTERED, memory)
    assert platform_crash(firmware, memory).boot_memory.size_bytes == BOOT_MEMORY.size_bytes
    assert firmware.state is State.ACTIVE


def test_a_whole_life(memory):
    """Register, crash, release, register again without a reset, crash again."""
    firmware = described_firmware()
    for _cycle in range(3):
        register(firmware, memory)
        assert firmware.state is State.REGISTERED
        trigger = reboot(firmware, memory)
        assert firmware.state is State.TRIGGERED
        dump = firmware.preserve(trigger, memory, CRASHED)
        assert firmware.state is State.ACTIVE
        assert firmware.preserved is dump
        assert firmware.registration.ranges == ()
        free(firmware, memory)
        assert firmware.state is State.INVALIDATED
        assert firmware.preserved is None


def test_a_trigger_that_a_reset_overtakes_is_over(memory):
    firmware = firmware_in(State.TRIGGERED, memory)
    firmware.on_reset()
    assert firmware.state is State.IDLE


def test_a_range_that_was_taken_back_leaves_the_firmware_idle(memory):
    firmware = firmware_in(State.INVALIDATED, memory)
    update(firmware, memory, MpiplOperation.ADD_RANGE, *BOOT_RANGE)
    update(firmware, memory, MpiplOperation.REMOVE_RANGE, 0, COPY)
    assert firmware.state is State.IDLE
