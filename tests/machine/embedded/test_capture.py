"""What a capture kernel makes of dumps that are not as they should be."""

import struct
from dataclasses import replace

import pytest

from fadump.abi.linux import crash_info
from fadump.abi.linux.crash_info import CrashHeader
from fadump.abi.platform import Platform
from fadump.abi.powernv.kernel_metadata import KernelMetadata
from fadump.abi.pseries.dump_structure import DumpStructure, SectionError, SectionType
from fadump.firmware.contract import State
from fadump.machine.channel import Crash, Crashing, Hello, Register, Registered, Reregister, Save, Saved
from fadump.vmcore.elfcore import ElfCore
from tests.machine.embedded.bench import ALL, bench


def rewrite_header(**fields):
    def tamper(guest):
        memory, at = guest.machine.memory, guest.dump.crash_info
        header = CrashHeader.decode(memory.read(at, 0x400), 8)
        changed = replace(header, **{key: value for key, value in fields.items() if key != "cpu_mask_bytes"})
        raw = bytearray(changed.encode())
        if "cpu_mask_bytes" in fields:
            raw[0x24:0x28] = struct.pack("<I", fields["cpu_mask_bytes"])
        memory.write(at, bytes(raw))

    return tamper


def swap_magic(guest):
    guest.machine.memory.write(guest.dump.crash_info, crash_info.MAGIC.to_bytes(8, "big"))


def given_up(guest, said):
    """The dump is invalidated in the capture boot; FADump can be registered again at once."""
    assert said in guest.log
    assert "no /proc/vmcore" in guest.ask(Save(), Saved).reason
    assert guest.firmware.state is State.INVALIDATED
    assert guest.ask(Reregister(), Registered).word == "registered"


@pytest.mark.parametrize("platform", ALL)
@pytest.mark.parametrize(
    ("tamper", "said"),
    [
        (rewrite_header(magic=crash_info.OLD_MAGIC), "fadump: Old magic number, can't process the dump."),
        (rewrite_header(magic=0), "fadump: Fadump header is corrupted."),
        (swap_magic, "fadump: Endianness mismatch between the crashed and fadump kernels."),
        (rewrite_header(pt_regs_bytes=376), "fadump: Fadump header size mismatch."),
        (rewrite_header(cpu_mask_bytes=256), "fadump: Fadump header size mismatch."),
    ],
    ids=["old", "corrupted", "byte order", "pt_regs", "cpumask"],
)
def test_a_header_of_another_kernel(platform, tamper, said):
    with bench(platform) as guest:
        guest.on_dump = tamper
        guest.to_capture()
        given_up(guest, said)


@pytest.mark.parametrize("platform", ALL)
def test_a_header_of_a_later_version_counts(platform):
    def tamper(guest):
        rewrite_header(version=2)(guest)
        appended = guest.dump.crash_info + crash_info.header_bytes(8)
        if platform is Platform.PSERIES:  # on powernv, this kernel's metadata stand there
            guest.machine.memory.write(appended, b"fields that this kernel doesn't know")

    with bench(platform) as guest:
        guest.on_dump = tamper
        guest.to_capture()
        guest.to_production()


@pytest.mark.parametrize("platform", ALL)
def test_a_vmcoreinfo_outside_memory_is_none(platform):
    """Linux reads what is no memory all the same: copy_oldmem_page()."""
    with bench(platform) as guest:
        guest.on_dump = rewrite_header(vmcoreinfo_address=1 << 40)
        guest.to_capture()
        assert "Warning: Zero PT_NOTE entries found" in guest.log
        guest.to_production()
        with ElfCore.open(f"/proc/self/fd/{guest.disk_fd}") as core:
            assert core.notes and not any(note.name == "VMCOREINFO" for note in core.notes)


def sections(change):
    """Change the sections of the structure that the capture kernel is given."""

    def tamper(tree):
        node = tree.find("/rtas")
        if "ibm,kernel-dump" in node.properties:
            structure = DumpStructure.decode(node.properties["ibm,kernel-dump"])
            node.properties["ibm,kernel-dump"] = replace(
                structure, sections=tuple(map(change, structure.sections))
            ).encode()

    return tamper


def broken(type_, **fields):
    return sections(lambda section: replace(section, **fields) if section.type == type_ else section)


@pytest.mark.parametrize(
    ("type_", "index"), [(SectionType.CPU_STATE, 0), (SectionType.HPTE, 1), (SectionType.REAL_MODE_REGION, 2)]
)
@pytest.mark.parametrize("error", SectionError)
def test_a_section_with_an_error_gives_the_whole_dump_up(type_, index, error):
    with bench() as guest:
        guest.on_tree = broken(type_, error_flags=error)
        guest.to_capture()
        given_up(guest, f"rtas fadump: Dump taken by platform is not valid ({index})")


@pytest.mark.parametrize(("type_", "index"), [(SectionType.CPU_STATE, 0), (SectionType.REAL_MODE_REGION, 2)])
def test_a_section_with_too_few_bytes_gives_the_whole_dump_up(type_, index):
    with bench() as guest:
        guest.on_tree = broken(type_, copied_bytes=0x1000)
        guest.to_capture()
        given_up(guest, f"rtas fadump: Dump taken by platform is incomplete ({index})")


def test_the_section_for_which_a_dump_is_given_up_is_named():
    with bench() as guest:
        guest.on_tree = broken(
            SectionType.HPTE, error_flags=SectionError.INVALID_SOURCE, source=0x1234, destination=0x5678
        )
        guest.to_capture()
        assert "rtas fadump: Region type: 2 src addr: 0x1234 dest addr: 0x5678\n" in guest.log


def test_a_lost_parameter_area_is_no_reason_to_give_up():
    with bench() as guest:
        guest.on_tree = broken(SectionType.PARAMETER_AREA, error_flags=SectionError.INVALID_SOURCE)
        guest.to_capture()
        assert "Failed to process additional parameters! Proceeding anyway.." in guest.log
        guest.to_production()


def test_a_section_of_a_later_kernel_is_ignored():
    with bench() as guest:
        guest.on_tree = broken(SectionType.PARAMETER_AREA, type=0x142)
        guest.to_capture()
        assert "Section type 322 unsupported on this kernel. Ignoring!" in guest.log
        assert "Unknown region found: type: 322" in guest.log
        guest.to_production()


@pytest.mark.parametrize(
    ("at", "data", "said"),
    [
        (0, b"NOTHING\0", "rtas fadump: Unable to read register save area."),
        (0x20, b"CPUEND\0\0", "rtas fadump: Unable to read CPU state data"),
        (0x1C, b"\0\0\xff\xff", "rtas fadump: Unable to read CPU state data"),
    ],
    ids=["magic", "CPUSTRT", "count"],
)
def test_a_register_save_area_that_makes_no_sense(at, data, said):
    def tamper(guest):
        guest.machine.memory.write(guest.dump.regions[0].destination + at, data)

    with bench() as guest:
        guest.on_dump = tamper
        guest.to_capture()
        given_up(guest, said)


def test_a_cpu_that_was_not_online_has_no_note():
    with bench(cpus=4) as guest:
        guest.on_dump = rewrite_header(cpu_mask=0b0101)
        guest.to_capture()
        guest.ask(Save(), Saved)
        with ElfCore.open(f"/proc/self/fd/{guest.disk_fd}") as core:
            assert sum(note.is_prstatus() for note in core.notes) == 2


def metadata_address(guest):
    (address,) = {call.args[1] for call in guest.calls if call.args[0] == 2 and call.token == 174}
    return address


def test_ranges_that_were_not_registered_are_warned_of():
    def tamper(guest):
        memory, at = guest.machine.memory, metadata_address(guest)
        metadata = KernelMetadata.decode(memory.read(at, 0x1000))
        memory.write(at, replace(metadata, regions=(*metadata.regions, metadata.regions[0])).encode())

    with bench(Platform.POWERNV) as guest:
        guest.on_dump = tamper
        guest.to_capture()
        assert "opal fadump: Not all memory regions were saved!!!" in guest.log
        assert "opal fadump: \t[001] base: 0x0, size: 0x30000000" in guest.log


def test_metadata_without_registered_ranges_is_no_dump_and_the_kernel_registers_anew():
    def tamper(guest):
        memory, at = guest.machine.memory, metadata_address(guest)
        metadata = KernelMetadata.decode(memory.read(at, 0x1000))
        memory.write(at, replace(metadata, registered_regions=0).encode())

    with bench(Platform.POWERNV) as guest:
        guest.on_dump = tamper
        assert guest.to_capture().registered is True
        assert "Firmware-assisted dump is active" not in guest.log


@pytest.mark.parametrize("platform", ALL)
def test_a_platforms_crash_leaves_no_crashing_cpu(platform):
    with bench(platform) as guest:
        guest.to_registered()
        header = crash_info.header_bytes(8)
        guest.on_dump = lambda guest: seen.append(guest.machine.memory.read(guest.dump.crash_info, header))
        seen = []
        guest.platform_crash()
        guest.until(Hello)
        assert CrashHeader.decode(seen[0], 8).crashing_cpu == crash_info.CPU_UNKNOWN
        guest.to_production()


def test_the_capture_kernel_crashes_and_the_first_dump_is_presented_again():
    with bench() as guest:
        guest.to_capture()
        first = guest.dump
        guest.ask(Crash(0), Crashing)
        assert guest.until(Hello).is_capture
        assert guest.dump is first
        guest.to_production()


def test_words_for_the_capture_kernel_are_added_to_its_command_line():
    def tamper(guest):
        area = next(region for region in guest.dump.regions if region.type == SectionType.PARAMETER_AREA)
        guest.machine.memory.write(area.destination, b"nr_cpus=1 quiet\0")

    with bench() as guest:
        guest.on_dump = tamper
        guest.to_capture()
        assert "fadump: Updated cmdline: fadump=on nr_cpus=1 quiet" in guest.log


def test_a_kernel_without_fadump_says_so():
    with bench(cmdline="fadump=off") as guest:
        assert guest.until(Hello).enabled is False
        assert "Operation not permitted" in guest.ask(Register(), Registered).reason
