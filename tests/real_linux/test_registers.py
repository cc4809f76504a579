"""The register save area that a crash leaves in memory, against what QEMU's monitor says of every CPU.

The area lies in the reserved dump area, which no vmcore shows; so a machine is taken to its crash, and no further.
"""

import io
import os
import re
from pathlib import Path

import pytest

from fadump.abi.pseries import register_save_area
from fadump.abi.pseries.dump_structure import SectionType
from fadump.abi.pseries.register_names import REGISTERS
from fadump.firmware.contract import FirmwareCall, Trigger
from fadump.firmware.pseries import PseriesFirmware
from fadump.kit.initramfs import build_initramfs
from fadump.machine.channel import Crash, Crashing, Hello, Register, Registered
from fadump.machine.contract import Handover
from fadump.machine.qemu.config import QemuConfig
from fadump.machine.qemu.machine import QemuMachine
from fadump.machine.qemu.register_sources import SOURCES, Missing
from fadump.run.options import RunOptions, WhichMachine
from fadump.run.parts import kernel_command_line

SECONDS = 300
CRASH_CPU = 1


@pytest.fixture(scope="module")
def crashed(kernel):
    """The area as decoded, and ``info registers -a`` as text; the guest has crashed and stands still."""
    options = RunOptions(Path(), WhichMachine.QEMU)
    config = QemuConfig(kernel.bootable, build_initramfs(), kernel_command_line(options))
    disk_fd = os.memfd_create("disk")
    os.ftruncate(disk_fd, 3 << 30)
    with QemuMachine(config, disk_fd, io.BytesIO()) as machine:
        dump = dump_of(machine, PseriesFirmware())
        (section,) = [region for region in dump.regions if region.type == SectionType.CPU_STATE]
        area = machine.memory.read(section.destination, section.requested_bytes)
        shown = machine.monitor("info registers -a")
    os.close(disk_fd)
    return register_save_area.decode(area), shown


def dump_of(machine, firmware):
    """Boot, register and crash; returns what the firmware has preserved."""
    while True:
        match event := machine.next_event(SECONDS):
            case Handover():
                firmware.describe(event.tree)
                machine.enter(event, firmware.tokens)
            case FirmwareCall():
                outcome = firmware.call(event, machine.memory)
                if isinstance(outcome, Trigger):
                    return firmware.preserve(outcome, machine.memory, machine.cpus())
                machine.answer(event, outcome)
            case Hello():
                machine.ask(Register())
            case Registered():
                machine.ask(Crash(CRASH_CPU))
            case Crashing():
                pass
            case _:
                raise AssertionError(event)


def shown_of(text, cpu):
    """What ``info registers`` says of one CPU, under PAPR's names: GPRs and FPRs stand four to a line."""
    one_cpu = re.split(r"^CPU#\d+\r?$", text, flags=re.MULTILINE)[1 + cpu]
    values = {}
    for name, number, four in re.findall(r"^([FG]PR)(\d\d)((?: [0-9a-f]{16}){4})", one_cpu, flags=re.MULTILINE):
        values |= {f"{name}{int(number) + i:02}": int(value, 16) for i, value in enumerate(four.split())}
    for name in ("LR", "CTR", "XER", "MSR", "CR", "FPSCR", "SRR0", "SRR1", "CFAR", "DAR", "DSISR", "SPRG3", "PVR"):
        values[name] = int(re.search(rf"\b{name} +([0-9a-f]{{8,16}})\b", one_cpu)[1], 16)
    values["NIA"] = int(re.search(r"\bNIP ([0-9a-f]{16})", one_cpu)[1], 16)
    time_base, decrementer = re.search(r"^TB \d+ (\d+) DECR (\d+)", one_cpu, flags=re.MULTILINE).groups()
    return values | {"TB": int(time_base), "DEC": int(decrementer)}


@pytest.mark.parametrize("cpu", [0, 1])
def test_the_area_has_what_the_monitor_shows(crashed, cpu):
    area, text = crashed
    expected = shown_of(text, cpu)
    assert len(expected) == 32 + 32 + 13 + 3
    assert {name: area[cpu].values[name] for name in expected} == expected


def test_the_area_has_every_register_of_every_cpu_in_lopars_order(crashed):
    area, _text = crashed
    readable = [name for name in REGISTERS if not isinstance(SOURCES[name], Missing)]
    assert [(cpu.cpu_id, list(cpu.values)) for cpu in area] == [(0, readable), (1, readable)]


def test_registers_are_each_cpus_own(crashed):
    area, _text = crashed
    assert area[0].values["GPR13"] != area[1].values["GPR13"]  # Linux's paca
    assert area[0].values["SPRG3"] != area[1].values["SPRG3"]  # its getcpu() value
    # Linux sets these on every CPU; QEMU 7.2's stub has them of the first one only.
    assert all(cpu.values[name] for cpu in area for name in ("AMR", "FSCR"))
    assert area[CRASH_CPU].values["MSR"] & 1 == 0  # in RTAS, big-endian
    assert area[0].values["MSR"] & 1 == 1  # stopped in Linux
