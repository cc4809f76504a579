"""Linux 6.1 on the embedded machine: what it registers, leaves and prints otherwise than 6.12.

Messages and layouts are those of Debian's 6.1.176, arch/powerpc/kernel/fadump.c and
arch/powerpc/platforms/pseries/rtas-fadump.c.
"""

import io
import struct
from dataclasses import replace

import pytest

from fadump.abi.linux.crash_info import CPU_UNKNOWN, OLD_MAGIC, OldCrashHeader
from fadump.abi.platform import Platform
from fadump.abi.pseries.dump_structure import DumpStatus, DumpStructure, SectionError, SectionType
from fadump.kernel.elfcorehdr import decode
from fadump.kernel.model import KernelConfig
from fadump.kernel.traits import LINUX_6_1
from fadump.machine.channel import Crash, Crashing, Hello, Register, Registered, Save, Saved
from fadump.machine.embedded.machine import EmbeddedMachine
from fadump.memory.ranges import Range
from fadump.vmcore.elfcore import ElfCore
from tests.machine.embedded.bench import ALL, Bench, bench, config_of, disk, firmware_of

GIB = 1 << 30
OLD = KernelConfig.of_version("6.1")
HEADER_BYTES = LINUX_6_1.header_bytes
BEFORE_COPY_BYTES = 0x10000


def old_bench(platform=Platform.PSERIES, cmdline="fadump=on", **others):
    return bench(platform, cmdline, kernel=OLD, **others)


def given_up(guest, said):
    assert said in guest.log
    assert "no /proc/vmcore" in guest.ask(Save(), Saved).reason


@pytest.mark.parametrize("platform", ALL)
@pytest.mark.parametrize("page_bytes", [0x1000, 0x10000])
def test_a_cycle_leads_to_a_vmcore(platform, page_bytes):
    kernel = KernelConfig.of_version("6.1", page_bytes=page_bytes)
    with bench(platform, cpus=4, kernel=kernel) as guest:
        guest.to_capture(cpu=2)
        guest.to_production()
        with ElfCore.open(f"/proc/self/fd/{guest.disk_fd}") as core:
            assert sum(note.is_prstatus() for note in core.notes) == 4
            assert core.notes[-1].name == "VMCOREINFO"


def test_one_section_has_all_boot_memory_and_none_has_parameters():
    with old_bench() as guest:
        guest.to_registered()
        structure = DumpStructure.decode(guest.machine.memory.read(guest.calls[0].args[1], 512))
        assert [section.type for section in structure.sections] == [
            SectionType.CPU_STATE,
            SectionType.HPTE,
            SectionType.REAL_MODE_REGION,
        ]
        assert guest.calls[0].args[2] == structure.size_bytes


@pytest.mark.parametrize("platform", ALL)
def test_the_first_kernel_leaves_the_elf_core_header_behind_its_own(platform):
    with old_bench(platform) as guest:
        guest.to_capture(cpu=1)
        memory, at = guest.machine.memory, guest.dump.crash_info
        header = OldCrashHeader.decode(memory.read(at, HEADER_BYTES), 8)
        assert (header.magic, header.elfcorehdr_address) == (OLD_MAGIC, at + HEADER_BYTES)
        assert header.crashing_cpu == guest.machine.cpus()[1].cpu_id
        notes, loads = decode(memory.read(header.elfcorehdr_address, 0x400))
        copy = next(region for region in guest.dump.regions if region.name == "copy of boot memory")
        assert len(notes) == 2 and loads[0].address == copy.destination


@pytest.mark.parametrize("platform", ALL)
def test_a_platforms_crash_leaves_no_crashing_cpu(platform):
    with old_bench(platform) as guest:
        guest.to_registered()
        seen = []
        guest.on_dump = lambda guest: seen.append(guest.machine.memory.read(guest.dump.crash_info, HEADER_BYTES))
        guest.platform_crash()
        guest.until(Hello)
        assert OldCrashHeader.decode(seen[0], 8).crashing_cpu == CPU_UNKNOWN
        guest.to_production()


def write_header(at, data):
    def tamper(guest):
        guest.machine.memory.write(guest.dump.crash_info + at, data)

    return tamper


@pytest.mark.parametrize(("platform", "prefix"), [(Platform.PSERIES, "rtas"), (Platform.POWERNV, "opal")])
def test_only_the_magic_of_the_header_is_looked_at(platform, prefix):
    with old_bench(platform) as guest:
        guest.on_dump = write_header(0, b"FADMPSIG"[::-1])
        guest.to_capture()
        given_up(guest, f"{prefix} fadump: Crash info header is not valid.")


@pytest.mark.parametrize(
    ("at", "data", "said"),
    [
        (8, struct.pack("<Q", 1 << 60), "Kdump: vmcore not initialized"),
        (HEADER_BYTES, bytes(4), "Warning: Core image elf header not found"),
        (HEADER_BYTES + 0x12, bytes(2), "Warning: Core image elf header is not sane"),
    ],
    ids=["address", "magic", "machine"],
)
def test_an_elf_core_header_that_makes_no_sense_leaves_no_vmcore(at, data, said):
    with old_bench() as guest:
        guest.on_dump = write_header(at, data)
        guest.to_capture()
        given_up(guest, said)


def test_a_segment_outside_memory_is_zeros():
    with old_bench() as guest:
        guest.on_dump = write_header(HEADER_BYTES + 0x40 + 2 * 0x38 + 8, struct.pack("<Q", 1 << 40))
        guest.to_capture()
        guest.to_production()
        with ElfCore.open(f"/proc/self/fd/{guest.disk_fd}") as core:
            first = core.segments[0]
            assert not any(core.read_physical(first.physical.start, first.physical.size_bytes))


def changed(index=None, status=None, **fields):
    def tamper(tree):
        properties = tree.find("/rtas").properties
        if "ibm,kernel-dump" in properties:
            structure = DumpStructure.decode(properties["ibm,kernel-dump"])
            sections = list(structure.sections)
            if index is not None:
                sections[index] = replace(sections[index], **fields)
            status_ = structure.status if status is None else status
            properties["ibm,kernel-dump"] = replace(structure, status=status_, sections=tuple(sections)).encode()

    return tamper


@pytest.mark.parametrize(
    ("tamper", "said"),
    [
        (changed(0, error_flags=SectionError.INVALID_SOURCE), "not valid"),
        (changed(2, error_flags=SectionError.INVALID_SOURCE), "not valid"),
        (changed(status=DumpStatus.ERROR), "not valid"),
        (changed(0, copied_bytes=0), "incomplete"),
        (changed(2, copied_bytes=0x1000), "incomplete"),
    ],
)
def test_sections_that_are_looked_at(tamper, said):
    with old_bench() as guest:
        guest.on_tree = tamper
        guest.to_capture()
        given_up(guest, f"rtas fadump: Dump taken by platform is {said}\n")


@pytest.mark.parametrize(
    "tamper",
    [
        changed(1, error_flags=SectionError.INVALID_SOURCE),
        changed(0, copied_bytes=0x100),
        changed(status=DumpStatus.ERROR | DumpStatus.PERFORMED),
        changed(0, type=0x142),
    ],
)
def test_what_is_not_looked_at(tamper):
    with old_bench() as guest:
        guest.on_tree = tamper
        guest.to_capture()
        guest.to_production()


def test_holes_in_boot_memory_are_blamed_for_a_parameter_error():
    memory = (Range(0, GIB // 4), Range(GIB, 3 * GIB))
    with old_bench(memory=memory) as guest:
        guest.to_registered()
        assert "rtas fadump: Can't have holes in boot memory area.\n" in guest.log
        assert "rtas fadump: Failed to register. Parameter Error(-3).\n" in guest.log


def test_rtas_that_stays_busy_is_waited_for():
    with old_bench() as guest:
        guest.statuses.extend([9905] * 3)
        guest.to_registered()
        assert "Timed out" not in guest.log and "Registration is successful!" in guest.log


@pytest.mark.parametrize("platform", ALL)
def test_mem_is_extended_by_the_reserved_area(platform):
    with old_bench(platform, "fadump=on mem=3G", memory=(Range(0, 6 * GIB),)) as guest:
        hello = guest.until(Hello)
        area = guest.ask(Register(), Registered).reserved_bytes
        assert f"Adjusted memory_limit for firmware-assisted dump, now {3 * GIB + area:#016x}\n" in guest.log
        assert hello.memory_bytes > 3 * GIB - (256 << 20)


@pytest.mark.parametrize("platform", ALL)
@pytest.mark.parametrize("version", ["6.1", "6.12"])
def test_mem_bounds_what_is_in_the_vmcore(platform, version):
    kernel = KernelConfig.of_version(version)
    with bench(platform, "fadump=on mem=3G", memory=(Range(0, 6 * GIB),), kernel=kernel) as guest:
        area = guest.to_registered().reserved_bytes
        guest.ask(Crash(0), Crashing)
        guest.until(Hello)
        guest.to_production()
        with ElfCore.open(f"/proc/self/fd/{guest.disk_fd}") as core:
            end = max(segment.physical.end for segment in core.segments)
            assert end == 3 * GIB + (area if version == "6.1" else 0)


@pytest.mark.parametrize("platform", ALL)
@pytest.mark.parametrize(("first", "second", "said"), [
    ("6.1", "6.12", "fadump: Old magic number, can't process the dump."),
    ("6.12", "6.1", "fadump: Crash info header is not valid."),
])  # fmt: skip
def test_an_update_between_crash_and_capture_boot_costs_the_dump(platform, first, second, said):
    kernels = {"kernel": KernelConfig.of_version(first), "later_kernel": KernelConfig.of_version(second)}
    config = config_of(platform, **kernels)
    console = io.BytesIO()
    with disk(config.memory[0].size_bytes) as fd, EmbeddedMachine(config, fd, console) as machine:
        guest = Bench(machine, firmware_of(platform), console, fd)
        guest.to_capture()
        given_up(guest, said)
