"""QEMU's own FADump, watched: calls go through, the crash is seen, the dump is read from the tree."""

import copy

import pytest

from fadump.abi.pseries.dump_structure import DumpStructure
from fadump.errors import FadumpError
from fadump.firmware.contract import FirmwareCall, PassThrough, State, Trigger, TriggerKind, Watched
from fadump.firmware.pseries import WatchedFirmware
from fadump.memory.devicetree import encode_cells
from tests.firmware.pseries.guest import (
    CONFIGURE_TOKEN,
    OS_TERM_TOKEN,
    OTHER_TOKEN,
    crash,
    device_tree,
    firmware_in,
    guest_memory,
)

REGISTER, UNREGISTER, INVALIDATE = 1, 2, 3
PASSED = PassThrough()


def qemus_tree(dump=None):
    """A tree of a QEMU that has FADump."""
    tree = device_tree()
    properties = tree.find("/rtas").properties
    properties["ibm,configure-kernel-dump"] = encode_cells(CONFIGURE_TOKEN)
    if dump is not None:
        properties["ibm,kernel-dump"] = dump.structure
    return tree


@pytest.fixture
def firmware():
    """One that has seen the first handover."""
    firmware = WatchedFirmware()
    firmware.describe(qemus_tree())
    return firmware


def call(token, *args, cpu_id=0):
    return FirmwareCall(cpu_id, token, args, 1, 0x100)


def test_a_qemu_without_fadump_is_one_sentence():
    with pytest.raises(FadumpError, match=r"^this QEMU has no FADump of its own: give --qemu newest, or leave out"):
        WatchedFirmware().describe(device_tree())


def test_no_call_is_looked_at_before_the_first_handover():
    assert WatchedFirmware().tokens == frozenset()


def test_the_tree_stays_as_qemu_made_it(firmware):
    tree = qemus_tree()
    before = copy.deepcopy(tree)
    firmware.describe(tree)
    assert tree == before
    assert firmware.tokens == {CONFIGURE_TOKEN, OS_TERM_TOKEN}


@pytest.mark.parametrize(
    ("commands", "state"),
    [
        ([REGISTER], State.REGISTERED),
        ([REGISTER, UNREGISTER], State.IDLE),
        ([REGISTER, 9], State.REGISTERED),
        ([INVALIDATE], State.INVALIDATED),
    ],
)
def test_commands_pass_through_and_are_followed(firmware, commands, state):
    assert [firmware.call(call(CONFIGURE_TOKEN, command, 0, 0), None) for command in commands] == [PASSED] * len(
        commands
    )
    assert firmware.state is state


def test_other_calls_and_calls_without_arguments_change_nothing(firmware):
    for stranger in (call(OTHER_TOKEN, REGISTER), call(CONFIGURE_TOKEN), call(OS_TERM_TOKEN, 0)):
        assert firmware.call(stranger, None) == PASSED
    assert firmware.state is State.IDLE


def test_a_crash_is_watched_and_the_dump_is_read_from_the_next_tree(firmware):
    with guest_memory() as memory:
        dump = crash(firmware_in(State.REGISTERED, memory), memory)
    firmware.call(call(CONFIGURE_TOKEN, REGISTER, 0, 0), None)
    assert firmware.call(call(OS_TERM_TOKEN, 0, cpu_id=1), None) == Watched(Trigger(TriggerKind.OS_TERM, "", 1))
    firmware.on_reset()
    firmware.describe(qemus_tree(dump))
    assert firmware.state is State.ACTIVE
    assert (firmware.preserved.regions, firmware.preserved.boot_memory) == (dump.regions, dump.boot_memory)
    assert DumpStructure.decode(firmware.preserved.structure) == DumpStructure.decode(dump.structure)
    firmware.on_reset()
    assert firmware.state is State.ACTIVE
    firmware.call(call(CONFIGURE_TOKEN, INVALIDATE, 0, 0), None)
    assert (firmware.state, firmware.preserved) == (State.INVALIDATED, None)


def test_a_crash_that_left_no_dump_is_told(firmware):
    firmware.call(call(CONFIGURE_TOKEN, REGISTER, 0, 0), None)
    firmware.call(call(OS_TERM_TOKEN, 0), None)
    firmware.on_reset()
    with pytest.raises(FadumpError, match="QEMU has reset the guest that crashed, and has no dump of it"):
        firmware.describe(qemus_tree())


def test_a_reset_drops_a_registration(firmware):
    firmware.call(call(CONFIGURE_TOKEN, REGISTER, 0, 0), None)
    firmware.on_reset()
    assert firmware.state is State.IDLE


def test_it_takes_no_dump_itself(firmware):
    with pytest.raises(FadumpError, match="dumps at os-term only, not for this platform"):
        firmware.preserve(Trigger(TriggerKind.PLATFORM, "", None), None, [])
