"""Dumps without VMCOREINFO, as QEMU and libvirt write them of Power: Linux's own note is in the guest's memory."""

import pytest

from fadump.capture.options import SaveOptions
from fadump.errors import FadumpError
from fadump.linux import vmcoreinfo_note
from fadump.linux.pages.page_class import DumpLevel, PageClass
from fadump.linux.system import CrashedSystem, open_system
from fadump.linux.vmcoreinfo import NoVmcoreinfoError
from fadump.vmcore.dump import open_dump
from tests.capture.saving import save_file
from tests.linux.crashed_kernel import crashed_kernel
from tests.linux.kernel_builder import FakeKernel
from tests.vmcore.core_builder import Load, build_core, note, prstatus
from tests.vmcore.dump_helpers import open_bytes
from tests.vmcore.kdump_builder import Kdump, build_kdump, flattened

NAMES = {"little": b"ppc64le", "big": b"ppc64"}


def guest(byte_order="little", before=()):
    """A kernel whose VMCOREINFO is in its memory, behind other bytes there."""
    kernel = crashed_kernel(byte_order)
    names = [b"Linux", b"guest", b"6.12.0-fake", b"#1 SMP", NAMES[byte_order], b"(none)"]
    kernel.symbol("init_uts_ns", kernel.place(b"".join(name.ljust(65, b"\0") for name in names)))
    kernel.state("OFFSET", uts_namespace__name=0)
    for data in before:
        kernel.place(data)
    kernel.place(note("VMCOREINFO", 0, kernel.vmcoreinfo(), byte_order), align=4)
    return kernel


def core(kernel, header_order=None):
    order = header_order or kernel.byte_order
    notes = [prstatus(registers, byte_order=order) for registers in kernel.cpus]
    return build_core([Load(0, bytes(kernel.memory))], [b"".join(notes)], byte_order=order)


def kdump(kernel):
    """QEMU's: pages of 64 KiB, "Unknown" as the machine, flattened."""
    pages = len(kernel.memory) >> 16
    stored = {number: bytes(kernel.memory[number << 16 : number + 1 << 16]) for number in range(pages)}
    registers = b"".join(prstatus(cpu, byte_order=kernel.byte_order) for cpu in kernel.cpus)
    source = Kdump(
        stored,
        pages=pages,
        page_bytes=1 << 16,
        byte_order=kernel.byte_order,
        notes=registers,
        machine="Unknown",
    )
    return flattened(build_kdump(source), 1 << 16)


@pytest.mark.parametrize("form", [core, kdump])
@pytest.mark.parametrize("byte_order", ["little", "big"])
def test_the_kernel_of_such_a_dump_is_known_by_the_note_in_its_memory(byte_order, form):
    with CrashedSystem(open_bytes(form(guest(byte_order)))) as system:
        assert system.vmcoreinfo.text("OSRELEASE") == "6.12.0-fake"
        assert system.ending.panic == "sysrq triggered crash"
        assert system.kernel.node == "guest"
        assert system.page_classes.count(list(system.dump.memory))[PageClass.FREE] == 1


@pytest.mark.parametrize(("kernels", "headers"), [("little", "big"), ("big", "little")])
def test_headers_may_have_another_byte_order_than_the_kernel(kernels, headers, tmp_path):
    with CrashedSystem(open_bytes(core(guest(kernels), headers))) as system:
        assert system.memory.byte_order == kernels
        assert system.ending.panic == "sysrq triggered crash"
        assert system.cpus[0].registers["nip"] == guest(kernels).cpus[0]["nip"]
    with open_bytes(core(guest(kernels), headers)) as dump:
        save_file(dump, tmp_path / "out", SaveOptions(levels=(DumpLevel(31),)))
    with open_system(tmp_path / "out") as system:
        assert system.kernel.machine == system.dump.machine == NAMES[kernels].decode()
        assert system.dump.byte_order == kernels
        assert system.cpus[0].registers["nip"] == guest(kernels).cpus[0]["nip"]


def test_a_saved_dump_has_the_note_that_was_found(tmp_path):
    kernel = guest()
    with open_bytes(core(kernel)) as dump:
        save_file(dump, tmp_path / "out", SaveOptions(levels=(DumpLevel(31),)))
    with open_dump(tmp_path / "out") as dump:
        assert dump.vmcoreinfo == kernel.vmcoreinfo()


def test_the_pages_of_a_dump_may_be_larger_than_the_kernels(tmp_path):
    kernel = FakeKernel(page_bytes=0x1000)
    names = [b"Linux", b"guest", b"6.12.0-fake", b"#1", b"ppc64le", b"(none)"]
    kernel.symbol("init_uts_ns", kernel.place(b"".join(name.ljust(65, b"\0") for name in names)))
    kernel.place(note("VMCOREINFO", 0, kernel.vmcoreinfo()), align=4)
    with CrashedSystem(open_bytes(kdump(kernel))) as system:
        assert (system.dump.page_bytes, system.page_bytes) == (0x10000, 0x1000)
    with open_bytes(kdump(kernel)) as dump:
        save_file(dump, tmp_path / "out", SaveOptions(levels=(DumpLevel(1),)))
    with open_dump(tmp_path / "out") as dump:
        assert dump.page_bytes == 0x1000
        assert dump.read_physical(0, len(kernel.memory)) == bytes(kernel.memory)


def test_another_kernels_note_in_memory_is_not_taken_for_its_own():
    other = note("VMCOREINFO", 0, b"OSRELEASE=2.6.32\nSYMBOL(init_uts_ns)=c000000000000100\n")
    text = b"VMCOREINFO\0\0OSRELEASE=in a text\n"
    with CrashedSystem(open_bytes(core(guest(before=[text, other, other])))) as system:
        assert system.vmcoreinfo.text("OSRELEASE") == "6.12.0-fake"


def test_a_note_that_spans_two_steps_of_the_search_is_found(monkeypatch):
    monkeypatch.setattr(vmcoreinfo_note, "_STEP_BYTES", 64)
    with CrashedSystem(open_bytes(core(guest()))) as system:
        assert system.vmcoreinfo.text("OSRELEASE") == "6.12.0-fake"


def test_memory_is_looked_through_up_to_a_limit(monkeypatch):
    monkeypatch.setattr(vmcoreinfo_note, "_STEP_BYTES", 64)
    monkeypatch.setattr(vmcoreinfo_note, "MOST_SEARCHED_BYTES", 256)
    with CrashedSystem(open_bytes(core(guest()))) as system, pytest.raises(NoVmcoreinfoError, match="nor was it found"):
        _ = system.vmcoreinfo


def test_zeros_behind_what_a_dump_has_are_not_looked_through():
    """A small file may claim 4 MiB of them behind each of its pieces."""
    pieces, far = 50, 1 << 30
    with open_bytes(build_core([Load(number * far, b"data" * 16, far) for number in range(pieces)])) as dump:
        looked_at, view = [], dump.view_physical
        dump.view_physical = lambda where: looked_at.append(where.size_bytes) or view(where)
        assert vmcoreinfo_note.find_vmcoreinfo(dump) is None
    assert len(looked_at) == pieces
    assert sum(looked_at) < pieces * 128


@pytest.mark.parametrize("empty", [b"", b"\0" * 64, b"\n"])
def test_an_empty_vmcoreinfo_is_none(empty):
    kernel = guest()
    data = build_core([Load(0, bytes(kernel.memory))], [note("VMCOREINFO", 0, empty)])
    with CrashedSystem(open_bytes(data)) as system:
        assert system.dump.vmcoreinfo is None
        assert system.vmcoreinfo.text("OSRELEASE") == "6.12.0-fake"


def test_of_two_vmcoreinfos_the_first_with_text_counts():
    info = b"OSRELEASE=6.1\nPAGESIZE=65536\nFUTURE(key)=?\nno line\n"
    notes = [note("VMCOREINFO", 0, b""), note("VMCOREINFO", 0, info), note("VMCOREINFO", 0, b"OSRELEASE=other\n")]
    with CrashedSystem(open_bytes(build_core([Load(0, bytes(64))], notes))) as system:
        assert system.vmcoreinfo.text("OSRELEASE") == "6.1"
        assert system.vmcoreinfo.page_bytes() == 0x10000


@pytest.mark.parametrize("empty", [b"", b"\0" * 64])
def test_an_empty_vmcoreinfo_of_a_kdump_file_leaves_that_of_its_notes(empty):
    notes = note("VMCOREINFO", 0, b"OSRELEASE=6.1\n")
    with open_bytes(build_kdump(Kdump({0: bytes(4096)}, vmcoreinfo=empty, notes=notes))) as dump:
        assert dump.vmcoreinfo == b"OSRELEASE=6.1\n"
    with open_bytes(build_kdump(Kdump({0: bytes(4096)}, vmcoreinfo=empty))) as dump:
        assert dump.vmcoreinfo is None


def test_a_dump_of_something_else_has_none():
    with CrashedSystem(open_bytes(build_core([Load(0, b"VMCOREINFO" * 50)]))) as system, pytest.raises(FadumpError):
        _ = system.vmcoreinfo


def test_who_crashed_is_known_of_such_a_dump():
    kernel = guest()
    with CrashedSystem(open_bytes(core(kernel))) as system:
        assert system.crashed_cpu is not None and system.crashed_cpu.number == 0
