"""A boot that leads nowhere, or past the firmware, by what SLOF and QEMU say; tests/real_linux has them do it."""

import io

import pytest

from fadump.systems.boot_watch import LOOK_SECONDS, BootWatch

LOADER = "a boot loader to start at 0x200000, as GRUB does"
SLOF = (
    b"Trying to load:  from: /pci@800000020000000/scsi@0 ... \r\nE3404: Not a bootable device!\r\n"
    b"Trying to load:  from: net ... \r\nE3405: No such device\r\n\r\nE3407: Load failed\r\n\r\n"
    b"  Type 'boot' and press return to continue booting the system.\r\n\r\n\r\nReady! \r\n0 > "
)
PRESSED_S = b"  http://www.opensource.org/licenses/bsd-license.php\r\n\r\n\r\nReady! \r\n0 > "
REGISTERS = "\r\nCPU#0\nNIP {nip}   LR 0000000000200014 CTR 0000000000000000 XER 00000000 CPU#0\nMSR {msr} HID0\n"
REAL_MODE = REGISTERS.format(nip="000000000e7b1a2c", msr="8000000000001000")
KERNEL = REGISTERS.format(nip="c0000000000e1d40", msr="8000000002009033")
IN_USER_SPACE = REGISTERS.format(nip="00007fff8c3e5d40", msr="800000000280f033")


class Machine:
    """One that is where a test puts it."""

    def __init__(self):
        self.awaited = LOADER
        self.registers = REAL_MODE
        self.seconds = 100.0
        self.calls = []
        self.asked = 0

    def clock(self):
        return self.seconds

    def call_after(self, seconds):
        self.calls.append(self.seconds + seconds)

    def monitor(self, command):
        assert command == "info registers"
        self.asked += 1
        return self.registers


@pytest.fixture
def machine():
    return Machine()


@pytest.fixture
def watch(machine):
    watch = BootWatch(io.BytesIO())
    watch.begin(machine)
    return watch


def told(watch, machine):
    """What is told when it is time."""
    said = []
    machine.seconds += LOOK_SECONDS
    watch.look(machine, lambda *what: said.append(what))
    return said


def test_the_console_is_passed_on(machine):
    screen = io.BytesIO()
    watch = BootWatch(screen)
    assert watch.write(b"SLOF") == 4
    watch.flush()
    assert screen.getvalue() == b"SLOF"


def test_a_boot_firmware_that_finds_nothing_is_told_once(watch, machine):
    assert told(watch, machine) == []
    watch.write(SLOF[:-3])
    assert told(watch, machine) == []
    watch.write(SLOF[-3:])
    sentence = "the boot firmware waits at its prompt, as it has found no boot loader (E3407: Load failed)"
    assert told(watch, machine) == [("firmware_prompt", sentence)]
    assert told(watch, machine) == []


def test_a_prompt_that_was_asked_for_has_no_reason(watch, machine):
    watch.write(PRESSED_S)
    assert told(watch, machine) == [("firmware_prompt", "the boot firmware waits at its prompt")]


@pytest.mark.parametrize("registers", [KERNEL, IN_USER_SPACE])
def test_a_kernel_that_was_not_handed_over_is_told_once(watch, machine, registers):
    machine.registers = registers
    sentence = f"a kernel runs without FADump: the machine has waited for {LOADER}; give the kernel by --kernel"
    assert told(watch, machine) == [("not_followed", sentence)]
    assert told(watch, machine) == []
    assert machine.asked == 1


def test_a_kernel_that_was_handed_over_is_not_looked_at(watch, machine):
    machine.awaited, machine.registers = None, KERNEL
    watch.write(SLOF)
    assert told(watch, machine) == []
    assert machine.asked == 0
    machine.awaited, machine.registers = LOADER, REAL_MODE
    assert told(watch, machine) == []  # what was on the console before the kernel is not of this boot


def test_each_boot_is_told_of(watch, machine):
    watch.write(SLOF)
    assert len(told(watch, machine)) == 1
    machine.awaited = None
    told(watch, machine)
    machine.awaited = LOADER
    watch.write(SLOF)
    assert len(told(watch, machine)) == 1


def test_a_machine_is_looked_at_when_it_is_time_whoever_else_has_it_call(watch, machine):
    watch.write(SLOF)
    said = []
    for _key in range(3):
        watch.look(machine, lambda *what: said.append(what))
    assert (said, machine.calls) == ([], [100.0 + LOOK_SECONDS])
    assert told(watch, machine)
    assert machine.calls == [100.0 + LOOK_SECONDS, 100.0 + 2 * LOOK_SECONDS]
