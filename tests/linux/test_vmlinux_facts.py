"""A dump without VMCOREINFO, and a kernel without its note in memory: what the vmlinux says is all that there is."""

import pytest

from fadump.capture.options import SaveOptions
from fadump.linux.pages.page_class import DumpLevel
from fadump.linux.system import CrashedSystem
from fadump.linux.vmcoreinfo import NoVmcoreinfoError
from fadump.linux.vmlinux.symbols import OtherKernelError
from fadump.vmcore.dump import open_dump
from tests.capture.saving import save_file
from tests.linux.kernel_builder import PAGE_OFFSET, FakeKernel, add_stack
from tests.linux.smp_builder import registers
from tests.vmcore.core_builder import Load, Section, build_core, build_sections, prstatus
from tests.vmcore.dump_helpers import open_bytes

GLOBAL_FUNC = 1 << 4 | 2
NAMES = [b"Linux", b"host", b"6.12.0-fake", b"#1 SMP", b"ppc64le", b"(none)"]


def vmlinux(kernel, symbols):
    """An ELF file with these symbols and nothing else."""
    names = b"\0" + b"".join(name.encode() + b"\0" for name in symbols)
    rows = bytes(24)
    for name, address in symbols.items():
        rows += kernel.pack("IBBHQQ", names.index(b"\0" + name.encode() + b"\0") + 1, GLOBAL_FUNC, 0, 1, address, 8)
    sections = [Section(0, b""), Section(2, rows, link=2), Section(3, names)]
    return build_sections(sections, names_section=2, byte_order=kernel.byte_order)


@pytest.fixture(params=["little", "big"])
def crashed(request, tmp_path):
    """A dump without VMCOREINFO, and the path of its kernel's vmlinux."""
    kernel = FakeKernel(request.param, memory_bytes=1 << 17)
    symbols = {"_stext": PAGE_OFFSET, "inner": PAGE_OFFSET + 0x8000, "outer": PAGE_OFFSET + 0x9000}
    symbols["swapper_pg_dir"] = kernel.place(kernel.pack("Q", 0) * 0x200)
    names = [*NAMES[:4], {"little": b"ppc64le", "big": b"ppc64"}[request.param], NAMES[5]]
    symbols["init_uts_ns"] = kernel.place(bytes(4) + b"".join(name.ljust(65, b"\0") for name in names))
    symbols["linux_banner"] = kernel.place(b"Linux version 6.12.0-fake (builder@host) #1 SMP\n\0")
    symbols["__hash_page_64K"] = PAGE_OFFSET + 0x9800
    cpu = registers(nip=symbols["inner"] + 4, gpr1=add_stack(kernel, [symbols["outer"] + 8]), link=symbols["outer"])
    (tmp_path / "vmlinux").write_bytes(vmlinux(kernel, symbols))
    notes = prstatus(cpu, byte_order=request.param)
    return build_core([Load(0, bytes(kernel.memory))], [notes], byte_order=request.param), tmp_path / "vmlinux"


def test_name_symbols_and_backtraces_are_known_by_the_vmlinux(crashed):
    data, path = crashed
    with CrashedSystem(open_bytes(data), path) as system:
        assert (system.vmcoreinfo.text("OSRELEASE"), system.page_bytes) == ("6.12.0-fake", 0x10000)
        assert system.kernel.node == "host"
        (cpu,) = system.cpus
        assert [str(frame.symbol) for frame in cpu.backtrace.frames][:2] == ["inner+0x4/0x1000", "outer+0x8/0x800"]


def test_what_a_vmlinux_says_is_not_saved_as_the_kernels_own(crashed, tmp_path):
    data, path = crashed
    with CrashedSystem(open_bytes(data), path) as system:
        save_file(system.dump, tmp_path / "out", SaveOptions(levels=(DumpLevel(0),)), vmlinux=path)
    with open_dump(tmp_path / "out") as dump:
        assert dump.vmcoreinfo is None and dump.system_name.node == "host"


def test_without_a_vmlinux_nothing_is_known(crashed):
    with CrashedSystem(open_bytes(crashed[0])) as system, pytest.raises(NoVmcoreinfoError):
        _ = system.vmcoreinfo


@pytest.mark.parametrize("banner", [b"Linux version ", b"Another text here", b"\0"])
def test_another_kernels_vmlinux_is_refused(crashed, banner):
    data, path = crashed
    at = data.index(b"Linux version ")
    other = data[:at] + banner.ljust(64, b"\0") + data[at + 64 :]
    with CrashedSystem(open_bytes(other), path) as system, pytest.raises(OtherKernelError, match="linux_banner"):
        _ = system.vmcoreinfo
