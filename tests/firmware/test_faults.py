"""Names of faults, and the firmware that has them."""

import pytest

from fadump.abi.pseries.dump_structure import DumpStructure
from fadump.abi.pseries.rtas import KERNEL_DUMP, DumpCommand, RtasStatus
from fadump.firmware.contract import Answer, CallName, PassThrough, State, Trigger
from fadump.firmware.faults import FOR_EVER, FaultyFirmware, StatusFault, UnknownFaultError
from fadump.firmware.powernv.faults import POWERNV_FAULTS
from fadump.firmware.pseries.faults import PSERIES_FAULTS
from tests.firmware.pseries.guest import (
    BOOT_COPY,
    CONFIGURE_TOKEN,
    call,
    configure,
    crash,
    described_firmware,
    device_tree,
    guest_memory,
    os_term,
    register,
)


@pytest.fixture
def memory():
    with guest_memory() as memory:
        yield memory


def faulty(*names):
    firmware = FaultyFirmware(described_firmware(), PSERIES_FAULTS)
    firmware.add(*(PSERIES_FAULTS.parse(name) for name in names))
    return firmware


@pytest.mark.parametrize(
    ("name", "call_name", "answers"),
    [
        ("register=-1", CallName.REGISTER, ((-1, FOR_EVER),)),
        ("register=busy*2", CallName.REGISTER, ((-2, 2),)),
        ("unregister=dump-active*1,9903*2,-3", CallName.UNREGISTER, ((-10, 1), (9903, 2), (-3, FOR_EVER))),
        ("terminate=success", CallName.TERMINATE, ((0, FOR_EVER),)),
        ("register=served*2,busy", CallName.REGISTER, ((None, 2), (-2, FOR_EVER))),
    ],
)
def test_a_name_says_which_call_gets_what(name, call_name, answers):
    assert PSERIES_FAULTS.parse(name) == StatusFault(name, call_name, answers)


@pytest.mark.parametrize("names", [PSERIES_FAULTS, POWERNV_FAULTS], ids=["pseries", "powernv"])
def test_every_call_and_every_word_and_every_dump_fault_is_a_name(names):
    for call_name in names.calls:
        for word, status in names.statuses.items():
            fault = names.parse(f"{call_name}={word}")
            assert (fault.call, fault.answers) == (call_name, ((status, FOR_EVER),))
    assert all(names.parse(fault).name == fault and names.parse(fault).text for fault in names.dump_faults)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        (
            "",
            "'' is not a fault: one of the firmware begins with boot-memory, cpu-state, crash-info, dump, hpte, ",
        ),
        ("busy", "'busy' is not a fault: one of the firmware begins with"),
        ("register", "'register' is not a fault: '' is not a status; write a number, success, hardware-error, "),
        ("register=", "'' is not a status"),
        ("register=slow", "'slow' is not a status"),
        ("register=busy*0", "'busy\\*0' is not a status"),
        ("register=busy*", "'busy\\*' is not a status"),
        ("register=1e3", "'1e3' is not a status"),
        ("register=-1,", "'' is not a status"),
        ("register=-1,-3", "all but the last status need a \\*N"),
        ("register=served", "after served\\*N comes the status of the next calls"),
        ("register=busy*1,served*1", "after served\\*N comes the status of the next calls"),
        ("register=served,busy", "all but the last status need a \\*N"),
        ("boot-memory=none", "'boot-memory=none' is not a fault"),
        ("query-cpu-tag=-1", "is not a fault"),
    ],
)
def test_what_is_no_name_is_told(name, sentence):
    with pytest.raises(UnknownFaultError, match=sentence):
        PSERIES_FAULTS.parse(name)


def test_calls_are_answered_so_often_and_do_nothing_else(memory):
    firmware = faulty("register=busy*2,9901*1", "terminate=busy*1")
    statuses = [register(firmware, memory).status for _ in range(3)]
    assert (statuses, firmware.state) == ([-2, -2, 9901], State.IDLE)
    assert register(firmware, memory) == Answer(RtasStatus.SUCCESS)
    assert os_term(firmware, memory) == Answer(RtasStatus.BUSY)
    assert isinstance(os_term(firmware, memory), Trigger)


def test_calls_can_be_served_before_others_are_not(memory):
    firmware = faulty("register=served*1,busy*1", "register=served*9,-1")
    assert [register(firmware, memory).status for _ in range(3)] == [RtasStatus.SUCCESS, -2, -9]
    assert firmware.never_struck() == {"register=served*9,-1": "its turn would have come after 3 calls of register"}


def test_other_calls_are_served(memory):
    firmware = faulty("register=-1")
    assert call(firmware, memory, CONFIGURE_TOKEN + 1, ()) == PassThrough()
    assert configure(firmware, memory, DumpCommand.UNREGISTER, 0, 440) == Answer(RtasStatus.SUCCESS)
    assert [register(firmware, memory).status for _ in range(3)] == [-1] * 3
    firmware.clear()
    assert register(firmware, memory) == Answer(RtasStatus.SUCCESS)


def test_a_dump_is_changed_once_and_presented_so_until_it_is_invalidated(memory):
    firmware = faulty("boot-memory=short", "cpu-state=invalid-source")
    register(firmware, memory)
    dump = crash(firmware, memory)
    sections = {section.type: section for section in DumpStructure.decode(dump.structure).sections}
    copy = sections[0x11]
    assert copy.copied_bytes < copy.requested_bytes
    missing_bytes = copy.requested_bytes - copy.copied_bytes
    assert not any(memory.read(BOOT_COPY.destination + copy.copied_bytes, missing_bytes))
    assert (sections[1].error_flags, sections[1].copied_bytes) == (0x4000, 0)
    assert next(region.error_flags for region in dump.regions) == 0x4000
    for _handover in range(2):
        tree = device_tree()
        firmware.describe(tree)
        assert tree.find("/rtas").properties[KERNEL_DUMP] == dump.structure
        firmware.on_reset()
    assert firmware.preserved == dump
    assert configure(firmware, memory, DumpCommand.INVALIDATE, 0, 440) == Answer(RtasStatus.SUCCESS)
    assert firmware.preserved is None


def test_what_has_never_struck_is_known_with_a_reason(memory):
    firmware = faulty("register=busy*1", "register=delay-1ms", "register=-1", "unregister=-1", "parameters=short")
    assert list(firmware.never_struck()) == [
        "register=busy*1", "register=delay-1ms", "register=-1", "unregister=-1", "parameters=short",
    ]  # fmt: skip
    assert firmware.never_struck()["register=-1"] == "the kernel never made this call; it made none"
    register(firmware, memory)
    register(firmware, memory)
    assert firmware.never_struck() == {
        "register=-1": "its turn would have come after 2 calls of register",
        "unregister=-1": "the kernel never made this call; it made register 2 times",
        "parameters=short": "of 0 dumps none had what it changes",
    }
    firmware.clear()
    assert firmware.never_struck() == {}


@pytest.mark.parametrize("name", ["parameters=outside", "registers=reversed", "crash-info=later-version"])
def test_a_fault_that_finds_nothing_has_never_struck(memory, name):
    """A structure with the copy of boot memory only, which no kernel has written a header into."""
    firmware = faulty(name, "boot-memory=invalid-source")
    register(firmware, memory, DumpStructure(sections=(BOOT_COPY,)))
    crash(firmware, memory)
    assert firmware.never_struck() == {name: "of 1 dump none had what it changes"}


@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize(
    ("name", "offset", "value"),
    [
        ("corrupt", 0x00, bytes(8)),
        ("other-endian", 0x00, b"GISPMDAF"),
        ("later-version", 0x08, 2),
        ("no-cpu", 0x0C, 0xFFFF_FFFF),
        ("foreign-cpu", 0x0C, 63),
        ("regs-size", 0x20, 352),
        ("mask-size", 0x24, 128),
        ("no-mask", 0x28 + 384, bytes(8)),
    ],
)
def test_a_fault_of_the_crash_info_header_is_in_its_kernels_byte_order(memory, order, name, offset, value):
    """struct fadump_crash_info_header of Linux 6.12; its registers and its cpumask have no zero byte here."""
    numbers = [(b"FADMPSIG", 8), (1, 4), (5, 4), (0x1000, 8), (0xDB4, 8), (384, 4), (8, 4)]
    written = bytearray().join(_in_order(value, size_bytes, order) for value, size_bytes in numbers)
    written += b"\x77" * (384 + 8)
    address = BOOT_COPY.destination + BOOT_COPY.requested_bytes
    memory.write(address, written)
    firmware = faulty(f"crash-info={name}")
    register(firmware, memory)
    crash(firmware, memory)
    changed = _in_order(value, len(value) if isinstance(value, bytes) else 4, order)
    written[offset : offset + len(changed)] = changed
    assert memory.read(address, len(written)) == written
    assert firmware.never_struck() == {}


def _in_order(value, size_bytes, order):
    """A number's bytes; text is one that is written the other way round."""
    number = int.from_bytes(value, "big") if isinstance(value, bytes) else value
    return number.to_bytes(size_bytes, order)


def test_a_dump_that_is_not_presented_is_still_held(memory):
    firmware = faulty("dump=missing")
    register(firmware, memory)
    crash(firmware, memory)
    tree = device_tree()
    firmware.describe(tree)
    assert KERNEL_DUMP not in tree.find("/rtas").properties
    assert firmware.state is State.ACTIVE


@pytest.mark.parametrize("name", PSERIES_FAULTS.dump_faults)
def test_no_dump_fault_is_an_exception_whatever_was_registered(memory, name):
    """A structure of one section has nothing that most faults change."""
    firmware = faulty(name)
    register(firmware, memory, DumpStructure(sections=(BOOT_COPY,)))
    assert crash(firmware, memory).keep == crash(firmware, memory).keep
