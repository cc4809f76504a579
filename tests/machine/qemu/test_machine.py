"""A machine in QEMU, with a kernel of a few instructions: each phase, and what is refused in it. Linux: real_linux."""

import gc
import os
import select
import signal
from pathlib import Path

import pytest

from fadump.abi.platform import Platform
from fadump.errors import MachineError, SetupError
from fadump.firmware.contract import Answer, FirmwareCall, PassThrough
from fadump.machine.contract import Called, FirmwareEnd, GuestReset, Handover, KdumpStart, Stopped
from fadump.machine.qemu import link, process
from fadump.machine.qemu.board import OwnEnd
from fadump.machine.qemu.config import KernelInFront
from fadump.machine.qemu.pseries import PseriesBoard
from fadump.machine.qemu.registers import RegisterFile
from fadump.memory.ranges import Range, RangeSet
from fadump.signals import OutOfTime, time_limit
from tests.machine.qemu.small_kernel import ARGUMENTS, HOLD, LOADED, RETURNED, RTAS, TOKEN, build_kernel, machine_with

SECONDS = 120
KEPT = Range.sized(0x100_0000, 0x1000)


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    return build_kernel(tmp_path_factory.mktemp("kernel"))


def expect(machine, kind):
    event = machine.next_event(SECONDS)
    assert isinstance(event, kind), event
    return event


def to_call(machine, boot):
    handover = expect(machine, Handover)
    assert handover.boot == boot
    machine.enter(handover, frozenset({TOKEN}))
    return handover, expect(machine, FirmwareCall)


def registers(machine):
    (cpu,) = machine.cpus()
    assert cpu.cpu_id == 0
    return cpu.values["GPR31"], cpu.values["GPR30"]


def test_a_call_is_answered_or_left_to_the_machines_own_firmware(kernel):
    with machine_with(kernel) as machine:
        _handover, call = to_call(machine, 1)
        assert (call.cpu_id, call.token, registers(machine)) == (0, TOKEN, (0, 0))
        machine.answer(call, Answer(7))
        assert expect(machine, FirmwareCall) == call
        assert machine.memory.read(call.answer_address, 4) == (7).to_bytes(4, "big")
        assert registers(machine) == (1, 0)
        machine.answer(call, PassThrough())
        assert expect(machine, FirmwareCall) == call
        assert registers(machine) == (2, 1)
        assert (machine.served.stops, machine.served.foreign_stops) == (5, 0)  # the kernel's entry twice


def test_a_reset_keeps_what_it_is_to_keep_and_leads_to_the_next_boot(kernel):
    with machine_with(kernel) as machine:
        to_call(machine, 1)
        machine.memory.write(KEPT.start, b"kept")
        machine.reset(RangeSet([KEPT]))
        machine.memory.write(KEPT.start, b"lost")
        assert to_call(machine, 2)[0].boot == 2
        assert machine.memory.read(KEPT.start, 4) == b"kept"
        assert registers(machine) == (0, 0)


def test_a_reset_of_a_guest_that_stands_still_is_an_event_before_the_next_boot(kernel):
    with machine_with(kernel) as machine:
        to_call(machine, 1)
        machine.press_reset()
        expect(machine, GuestReset)
        expect(machine, Handover)
        machine.press_reset()
        expect(machine, GuestReset)
        to_call(machine, 3)


def test_a_reset_of_a_running_guest_is_an_event_before_the_next_boot(kernel):
    with machine_with(kernel) as machine:
        machine.enter(expect(machine, Handover), frozenset())
        machine.memory.write(HOLD, (1).to_bytes(4, "big"))
        machine.press_reset()
        expect(machine, GuestReset)
        machine.memory.write(HOLD, bytes(4))
        to_call(machine, 2)


@pytest.mark.parametrize("reset", [lambda machine: machine.reset(RangeSet()), lambda machine: machine.press_reset()])
def test_a_call_from_the_host_outlives_a_reset(kernel, reset):
    with machine_with(kernel) as machine:
        to_call(machine, 1)
        machine.call()
        reset(machine)
        while not isinstance(event := machine.next_event(SECONDS), Called):
            assert isinstance(event, GuestReset)


def test_a_call_from_the_host_outlives_a_halt(kernel):
    with machine_with(kernel) as machine:
        machine.enter(expect(machine, Handover), frozenset())
        machine.call()
        machine.halt()
        machine.reset(RangeSet())
        expect(machine, Called)


def test_a_halted_guest_shows_its_registers_and_can_be_reset(kernel):
    with machine_with(kernel) as machine:
        machine.enter(expect(machine, Handover), frozenset())  # no call stops it
        machine.halt()
        (cpu,) = machine.cpus()
        assert LOADED <= cpu.values["NIA"] < ARGUMENTS
        machine.reset(RangeSet())
        to_call(machine, 2)


def test_the_machines_own_firmware_ends_it_where_the_board_says(kernel, monkeypatch):
    """RTAS stands in for an OPAL here: a call leads to its end, and so does the next one once it has been spoilt.

    Each time it is seen, whether somebody waits for it or not.
    """
    monkeypatch.setattr(PseriesBoard, "own_end", lambda *_of: OwnEnd(RTAS, KEPT.start, b"spoilt"))
    with machine_with(kernel) as machine:
        _handover, call = to_call(machine, 1)
        assert machine.end(call)
        assert expect(machine, FirmwareEnd) == FirmwareEnd(0)
        assert machine.cpus()[0].values["NIA"] == RTAS
        assert registers(machine) == (0, 0)  # RTAS has not even counted it
        machine.reset(RangeSet())
        _handover, call = to_call(machine, 2)
        machine.answer(call, Answer(0))
        machine.crash_firmware()
        assert expect(machine, FirmwareEnd) == FirmwareEnd(0)
        assert machine.memory.read(KEPT.start, 6) == b"spoilt"
        machine.press_reset()
        expect(machine, GuestReset)
        _handover, call = to_call(machine, 3)
        machine.answer(call, PassThrough())  # and RTAS ends by it, which nobody has asked for
        assert expect(machine, FirmwareEnd) == FirmwareEnd(0)
        assert machine.cpus()[0].values["NIA"] == RTAS
        machine.press_reset()
        expect(machine, GuestReset)
        to_call(machine, 4)


def test_a_firmware_that_is_qemu_itself_has_no_end_of_its_own(kernel):
    with machine_with(kernel) as machine:
        _handover, call = to_call(machine, 1)
        assert not machine.end(call)
        machine.answer(call, Answer(0))
        with pytest.raises(MachineError, match="lists no symbols by which it could be made to fail"):
            machine.crash_firmware()
        expect(machine, FirmwareCall)


def test_a_crash_kernel_is_seen_at_its_first_instruction_and_let_go(kernel):
    with machine_with(kernel) as machine:
        machine.enter(expect(machine, Handover), frozenset())
        for _time in range(2):
            machine.stop_at_kdump(RETURNED)
            expect(machine, KdumpStart)
            assert machine.cpus()[0].values["NIA"] == RETURNED
            machine.start_kdump()
        machine.press_reset()
        expect(machine, GuestReset)
        to_call(machine, 2)


def test_a_guest_that_waits_for_its_crash_kernel_can_be_reset(kernel):
    with machine_with(kernel) as machine:
        machine.enter(expect(machine, Handover), frozenset())
        machine.stop_at_kdump(HOLD)  # where it never comes
        machine.press_reset()
        expect(machine, GuestReset)
        to_call(machine, 2)


def test_only_a_guest_of_ours_with_a_disk_is_lent_a_kernel(kernel):
    with machine_with(kernel) as machine:
        assert machine.kexec is None
    with machine_with(kernel, has_guest_channel=True) as machine:
        assert machine.kexec is machine
        with machine.lent_kernel() as load:
            assert load.kernel.size_bytes == load.initrd.size_bytes == kernel.stat().st_size


def test_a_kernel_in_front_is_started_and_the_systems_own_is_lent(kernel, tmp_path):
    system = tmp_path / "system"
    system.write_bytes(b"Linux")
    in_front = KernelInFront(kernel, kernel, "")
    with machine_with(system, in_front=in_front, has_guest_channel=True) as machine:
        to_call(machine, 1)
        with machine.lent_kernel() as load:
            assert load.kernel.size_bytes == len(b"Linux")


def test_what_can_not_be_done_in_a_phase_is_one_sentence(kernel):
    nobody = FirmwareCall(0, TOKEN, (), 1, ARGUMENTS)
    with machine_with(kernel) as machine:
        with pytest.raises(MachineError, match="is in its boot firmware, and not in a firmware call"):
            machine.answer(nobody, Answer(0))
        handover = expect(machine, Handover)
        with pytest.raises(MachineError, match="is at its kernel's entry, and not in a firmware call"):
            machine.answer(nobody, Answer(0))
        with pytest.raises(MachineError, match="is at its kernel's entry, and not in its kernel"):
            machine.stop_at_kdump(LOADED)
        machine.enter(handover, frozenset())
        with pytest.raises(MachineError, match="is in its kernel, and not at a crash kernel's entry"):
            machine.start_kdump()
        with pytest.raises(MachineError, match="is in its kernel, and not at its kernel's entry"):
            machine.enter(handover, frozenset())
        with pytest.raises(MachineError, match="the guest runs, its CPUs can't be read"):
            machine.cpus()
        machine.halt()
        with pytest.raises(MachineError, match="is halted, and not at its kernel's entry"):
            machine.enter(handover, frozenset())


def test_a_console_that_can_not_be_kept_stops_the_machine(kernel):
    """Else its guest would stand still once nobody reads what it says: SLOF says something at once."""
    with open("/dev/full", "wb", buffering=0) as log, machine_with(kernel, log, vof=False) as machine:  # noqa: PTH123
        stopped = expect(machine, Stopped)
    assert stopped.reason == "the guest's console can't be written: No space left on device"


def test_guest_ram_may_lie_on_a_disk_where_nobody_finds_it(kernel, tmp_path):
    with machine_with(kernel, ram_directory=tmp_path, nodes=(256 << 20, 256 << 20)) as machine:
        to_call(machine, 1)
        machine.memory.write(KEPT.start, b"kept")
        machine.reset(RangeSet([KEPT]))
        machine.memory.write(KEPT.start, b"lost")
        to_call(machine, 2)
        assert machine.memory.read(KEPT.start, 4) == b"kept"
        files = [os.fstat(segment.fd) for segment in machine.segments]
        assert {(file.st_dev, file.st_nlink, file.st_mode & 0o777) for file in files} == {
            (tmp_path.stat().st_dev, 0, 0o600)
        }
        assert 0 < sum(file.st_blocks * 512 for file in files) < 64 << 20
        assert list(tmp_path.iterdir()) == []


def test_a_place_that_can_hold_no_guest_ram_is_one_sentence(kernel, tmp_path):
    with (
        pytest.raises(SetupError, match=f"^no 256 MiB in {tmp_path}/none for the guest: No such file or directory$"),
        machine_with(kernel, ram_directory=tmp_path / "none"),
    ):
        pass


@pytest.fixture
def qemu():
    """Says which process is the QEMU of the machine that the test has started."""
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    before = {*children.read_text().split()}

    def find():
        (child,) = {*children.read_text().split()} - before
        return int(child)

    return find


def end_by(number, child):
    """Kill a process, and wait until it has ended."""
    life = os.pidfd_open(child)
    os.kill(child, number)
    select.select([life], [], [])
    os.close(life)


def test_a_guest_whose_memory_finds_no_room_is_one_sentence(kernel, qemu):
    with machine_with(kernel) as machine:
        machine.enter(expect(machine, Handover), frozenset())  # no call stops it
        os.kill(qemu(), signal.SIGBUS)  # what a full disk comes to in who writes to a mapped file
        event = expect(machine, Stopped)
    assert event.reason.startswith("QEMU has lost the guest's memory (SIGBUS): the disk that it lies on is full, or ")


@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        (signal.SIGKILL, "QEMU was killed by SIGKILL: by somebody, or because this machine has run out of memory"),
        (signal.SIGSEGV, "QEMU was killed by SIGSEGV"),
        (signal.SIGRTMIN + 1, f"QEMU was killed by signal {signal.SIGRTMIN + 1}"),
        (
            signal.SIGTERM,
            "QEMU ended with status 0: qemu-system-ppc64: terminating on signal 15 from pid {pid} ",
        ),
    ],
)
def test_a_qemu_that_somebody_ends_says_so(kernel, qemu, number, sentence):
    with machine_with(kernel) as machine:
        machine.enter(expect(machine, Handover), frozenset())
        os.kill(qemu(), number)
        assert expect(machine, Stopped).reason.startswith(sentence.format(pid=os.getpid()))


@pytest.mark.parametrize(
    "do",
    [
        lambda machine, _call: machine.cpus(),
        lambda machine, call: machine.answer(call, Answer(7)),
        lambda machine, _call: machine.reset(RangeSet()),
        lambda machine, _call: machine.monitor("info status"),
    ],
    ids=["cpus", "answer", "reset", "monitor"],
)
def test_whatever_fails_since_qemu_has_ended_says_how_it_has_ended(kernel, qemu, do):
    with machine_with(kernel) as machine:
        _handover, call = to_call(machine, 1)
        end_by(signal.SIGKILL, qemu())
        with pytest.raises(MachineError, match="^QEMU was killed by SIGKILL"):
            do(machine, call)


def test_a_qemu_that_ends_while_its_guest_is_looked_at_says_how(kernel, qemu):
    with machine_with(kernel) as machine:
        machine.enter(expect(machine, Handover), frozenset({TOKEN}))
        read = machine._link.registers.read

        async def read_too_late(*arguments):
            end_by(signal.SIGKILL, qemu())
            return await read(*arguments)

        machine._link.registers.read = read_too_late
        assert expect(machine, Stopped).reason.startswith("QEMU was killed by SIGKILL")


def test_a_qemu_that_ends_while_it_is_met_says_how(kernel, qemu, monkeypatch):
    describe = RegisterFile.describe

    async def describe_too_late(gdb):
        end_by(signal.SIGKILL, qemu())
        return await describe(gdb)

    monkeypatch.setattr(RegisterFile, "describe", describe_too_late)
    with pytest.raises(SetupError, match="^QEMU was killed by SIGKILL"), machine_with(kernel):
        pass


def test_a_stub_that_is_given_to_somebody_else_is_no_end_of_qemus(kernel, monkeypatch):
    monkeypatch.setattr(link, "_ENDING_SECONDS", 0.1)
    with machine_with(kernel) as machine:
        to_call(machine, 1)
        machine.monitor("gdbserver none")
        with pytest.raises(MachineError, match="^QEMU has closed its gdb stub$"):
            machine.cpus()


def test_an_option_that_qemu_refuses_is_named_in_its_own_words(kernel):
    sentence = (
        "^QEMU ended with status 1: qemu-system-ppc64: -device nonsense: 'nonsense' is not a valid device model name$"
    )
    with pytest.raises(SetupError, match=sentence), machine_with(kernel, extra_arguments=("-device", "nonsense")):
        pass


def test_guest_memory_is_given_back(kernel):
    with machine_with(kernel) as machine:
        assert "fadump-guest-ram" in Path("/proc/self/maps").read_text()
    assert "fadump-guest-ram" not in Path("/proc/self/maps").read_text()
    assert not machine.memory.ram


def test_a_machine_may_be_closed_twice(kernel):
    with machine_with(kernel) as machine:
        machine.close()


@pytest.mark.parametrize(
    ("platform", "sentence"),
    [
        (Platform.PSERIES, "this QEMU has no such --cpu-model: give --qemu newest, or another model"),
        (Platform.POWERNV, "this QEMU has no machine for that --cpu-model: give --qemu newest, or another model"),
    ],
)
def test_a_cpu_that_qemu_does_not_know_is_one_sentence(kernel, monkeypatch, platform, sentence):
    monkeypatch.setitem(process.POWERNV_MACHINES, "POWER99", "powernv99")
    with pytest.raises(SetupError, match=f"^{sentence}$"), machine_with(kernel, platform=platform, cpu_model="POWER99"):
        pass


def test_a_signal_in_the_middle_of_a_command_leaves_nothing_to_complain_about(kernel, qemu, caplog):
    with machine_with(kernel) as machine:
        to_call(machine, 1)
        os.kill(qemu(), signal.SIGSTOP)  # it will not answer
        with time_limit(0.5), pytest.raises(OutOfTime):
            machine.cpus()
    gc.collect()  # asyncio complains when a task is forgotten
    assert not [record for record in caplog.records if record.name == "asyncio"]
