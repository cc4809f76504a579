"""What a dump says beside its memory is in the saved file, too, whatever the two formats are."""

import struct
from contextlib import suppress
from dataclasses import replace

import pytest

from fadump.capture.options import Format, SaveOptions
from fadump.errors import FadumpError
from fadump.linux.pages.page_class import DumpLevel
from fadump.linux.system import open_system
from fadump.vmcore.check import check_dump
from fadump.vmcore.dump import open_dump
from fadump.vmcore.elf_dump import ElfDump
from tests.capture.saving import save_file
from tests.capture.test_continue import DyingFiles, KilledError
from tests.linux.kernel_builder import FakeKernel
from tests.vmcore.core_builder import Load, build_core, note
from tests.vmcore.dump_helpers import open_bytes
from tests.vmcore.kdump_builder import PAGE_BYTES, build_kdump, flattened, sample

X86_64 = 62
NAMES = ["Linux", "host", "6.12.0-fake", "#1 SMP", "ppc64le", "example.org"]
VMCOREINFO = b"OSRELEASE=5.14.0\nPAGESIZE=4096\nSYMBOL(swapper_pg_dir)=ffffffff82a10000\nNUMBER(phys_base)=16777216\n"
ERASED = b"erase task_struct.comm 16\n"


def save(data, path, format_=Format.KDUMP, **options):
    with open_bytes(data) as dump:
        save_file(dump, path, SaveOptions(levels=(DumpLevel(0),), format=format_, **options))
    return path.read_bytes()


def header_names(data):
    return [data[12 + 65 * number : 77 + 65 * number].split(b"\0")[0].decode() for number in range(6)]


def header_time(data):
    return struct.unpack_from("<qq", data, 408)


def named_kernel(offset):
    """A kernel that doesn't state where in struct uts_namespace its names are."""
    kernel = FakeKernel()
    names = b"".join(name.encode().ljust(65, b"\0") for name in NAMES)
    kernel.symbol("init_uts_ns", kernel.place(bytes(offset) + names))
    return kernel


@pytest.mark.parametrize("offset", [0, 4])
def test_a_kernel_before_5_11_has_its_whole_name(offset, tmp_path):
    assert header_names(save(named_kernel(offset).core(), tmp_path / "out")) == NAMES


def test_no_name_is_empty_where_the_kernels_own_cannot_be_read(tmp_path):
    kernel = named_kernel(64)
    saved = header_names(save(kernel.core(), tmp_path / "out"))
    assert saved == ["Linux", "(none)", "6.12.0-fake", "(unknown)", "ppc64le", "(none)"]


def test_what_the_sources_header_says_stays_where_the_kernel_says_nothing(tmp_path):
    source = sample(domainname="example.org", phys_base=0x1234_5000, cpus=12, vmcoreinfo=b"", machine="x86_64")
    for data in (build_kdump(source), flattened(build_kdump(source))):
        saved = save(data, tmp_path / "out")
        (tmp_path / "out").unlink()
        assert header_names(saved) == ["Linux", "node", "6.12.0", "#1", "x86_64", "example.org"]
        assert header_time(saved) == (1_700_000_000, 5)
        assert struct.unpack_from("<Q", saved, PAGE_BYTES) == (0x1234_5000,)
        assert struct.unpack_from("<i", saved, 460) == (12,)


def test_the_sources_header_fills_in_what_the_kernels_memory_lacks(tmp_path):
    info = b"OSRELEASE=6.12.0\nPAGESIZE=4096\nCRASHTIME=1800000000\n"
    saved = save(build_kdump(sample(vmcoreinfo=info)), tmp_path / "out")
    assert header_names(saved) == ["Linux", "node", "6.12.0", "#1", "ppc64le", "(none)"]
    assert header_time(saved) == (1_800_000_000, 0)


def test_phys_base_is_in_the_sub_header_as_makedumpfile_has_it(tmp_path):
    core = build_core([Load(0, b"T" * 8192)], [note("VMCOREINFO", 0, VMCOREINFO)], machine=X86_64)
    assert struct.unpack_from("<Q", save(core, tmp_path / "out"), PAGE_BYTES) == (16777216,)


def erase_info_by_header(data):
    offset, size_bytes = struct.unpack_from("<QQ", data, PAGE_BYTES + 64)
    return data[offset : offset + size_bytes]


def test_what_was_erased_is_told_in_each_format(tmp_path):
    kdump = build_kdump(sample(erase_info=ERASED))
    again = save(kdump, tmp_path / "again")
    assert erase_info_by_header(again) == ERASED
    assert erase_info_by_header(save(again, tmp_path / "third")) == ERASED
    core = save(kdump, tmp_path / "core", Format.ELF)
    assert core.count(note("ERASEINFO", 0, ERASED)) == 1
    assert erase_info_by_header(save(core, tmp_path / "back")) == ERASED


# A core of x86_64: the kernel's text runs at addresses of its own, and is in the linear map, too
TEXT, LINEAR = 0xFFFF_FFFF_8100_0000, 0xFFFF_8880_0000_0000


def x86_core(loads):
    return build_core(loads, [note("VMCOREINFO", 0, VMCOREINFO)], machine=X86_64)


def virtual_memory(path):
    """Virtual address to byte, of each page, by the file's own headers."""
    data = path.read_bytes()
    phoff, count = struct.unpack_from("<Q", data, 32)[0], struct.unpack_from("<H", data, 56)[0]
    found = {}
    for _type, _flags, offset, virtual, physical, in_file, _memory, _align in struct.iter_unpack(
        "<IIQQQQQQ", data[phoff : phoff + 56 * count]
    ):
        if _type == 1:
            found |= {virtual + at: (physical + at, data[offset + at]) for at in range(0, in_file, 4096)}
    return found


def test_an_elf_core_of_another_machine_keeps_its_virtual_addresses(tmp_path):
    loads = [Load(0x20_0000, b"T" * 8192, virtual=TEXT), Load(0x1000, b"M" * 8192, virtual=LINEAR + 0x1000)]
    save(x86_core(loads), tmp_path / "out", Format.ELF)
    assert virtual_memory(tmp_path / "out") == {
        TEXT: (0x20_0000, ord("T")),
        TEXT + 0x1000: (0x20_1000, ord("T")),
        LINEAR + 0x1000: (0x1000, ord("M")),
        LINEAR + 0x2000: (0x2000, ord("M")),
    }


def test_memory_with_two_virtual_addresses_keeps_both_and_stands_in_the_file_once(tmp_path):
    """As kexec-tools lists it: first the text, then all memory, in which the text is."""
    memory = b"M" * 4096 + b"T" * 8192 + b"N" * 4096
    loads = [Load(0x2000, memory[4096:12288], virtual=TEXT), Load(0x1000, memory, virtual=LINEAR + 0x1000)]
    save(x86_core(loads), tmp_path / "out", Format.ELF)
    assert virtual_memory(tmp_path / "out") == {
        LINEAR + 0x1000: (0x1000, ord("M")),
        LINEAR + 0x2000: (0x2000, ord("T")),
        LINEAR + 0x3000: (0x3000, ord("T")),
        LINEAR + 0x4000: (0x4000, ord("N")),
        TEXT: (0x2000, ord("T")),
        TEXT + 0x1000: (0x3000, ord("T")),
    }
    assert (tmp_path / "out").read_bytes().count(b"T" * 8192) == 1
    with open_dump(tmp_path / "out") as dump:
        report = check_dump(dump)
        assert report.whole and not [found for found in report.findings if "overlap" in found.text]
        assert dump.read_physical(0x1000, len(memory)) == memory


@pytest.mark.parametrize("calls", range(4, 30, 2))
def test_two_virtual_addresses_survive_an_interruption(tmp_path, monkeypatch, calls):
    """Whatever of the file is there is right, and it is gone on with."""
    monkeypatch.setattr("fadump.capture.elf_writer.CHECKPOINT_BYTES", 8192)
    monkeypatch.setattr("fadump.capture.batches.BATCH_BYTES", 8192)
    monkeypatch.setattr("fadump.capture.batches._LEAST_BATCH_BYTES", 4096)
    memory = b"".join(bytes([number]) * 4096 for number in range(1, 17))
    loads = [Load(0x3000, memory[0x2000:0x9000], virtual=TEXT), Load(0x1000, memory, virtual=LINEAR)]
    options = SaveOptions(levels=(DumpLevel(0),), format=Format.ELF)
    save(x86_core(loads), tmp_path / "once", Format.ELF)
    with open_bytes(x86_core(loads)) as dump, suppress(KilledError):
        save_file(dump, tmp_path / "out", options, files=DyingFiles(calls))
    whole = virtual_memory(tmp_path / "once")
    assert virtual_memory(tmp_path / "out.incomplete").items() < whole.items()
    with open_bytes(x86_core(loads)) as dump:
        save_file(dump, tmp_path / "out", replace(options, continued=True))
    assert (tmp_path / "out").read_bytes() == (tmp_path / "once").read_bytes()


def test_virtual_addresses_that_a_format_cannot_hold_are_told(tmp_path):
    core = x86_core([Load(0x1000, b"M" * 4096, virtual=LINEAR)])
    options = SaveOptions(levels=(DumpLevel(0),))
    with open_bytes(core) as dump:
        remarks = save_file(dump, tmp_path / "kdump", options).remarks
    assert [remark for remark in remarks if "can't hold the virtual addresses of the PT_LOADs" in remark]
    with open_dump(tmp_path / "kdump") as dump:
        remarks = save_file(dump, tmp_path / "elf", SaveOptions(levels=(DumpLevel(0),), format=Format.ELF)).remarks
    assert [remark for remark in remarks if "have no virtual addresses" in remark]


def test_adjacent_memory_at_two_distances_is_in_two_segments(tmp_path):
    loads = [Load(0x1000, b"A" * 4096, virtual=TEXT), Load(0x2000, b"B" * 4096, virtual=LINEAR)]
    save(x86_core(loads), tmp_path / "out", Format.ELF)
    assert virtual_memory(tmp_path / "out") == {TEXT: (0x1000, ord("A")), LINEAR: (0x2000, ord("B"))}


def test_memory_that_a_bitmap_is_too_small_for_is_refused_before(tmp_path, monkeypatch):
    monkeypatch.setattr("fadump.capture.formats.MOST_PAGES", 15)
    core = build_core([Load(15 * 4096, b"M")], [note("VMCOREINFO", 0, VMCOREINFO)], machine=X86_64)
    with pytest.raises(FadumpError, match="up to page 0x10 is too much for its bitmaps: use --format elf"):
        save(core, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_only_a_header_has_is_told_when_an_elf_core_takes_it(tmp_path):
    options = SaveOptions(levels=(DumpLevel(0),), format=Format.ELF)
    with open_bytes(build_kdump(sample(vmcoreinfo=b""))) as dump:
        remarks = save_file(dump, tmp_path / "elf", options).remarks
    assert [remark for remark in remarks if "can't hold the kernel's name, 6.12.0, and the time" in remark]


def core_of_many_loads(count):
    """As many PT_LOADs of a page, each far from the next; PN_XNUM."""
    loads = [Load(number << 17, b"\1") for number in range(count)]
    info = note("VMCOREINFO", 0, b"OSRELEASE=5.14\nPAGESIZE=65536\nSYMBOL(swapper_pg_dir)=c000000001000000\n")
    return build_core(loads, [info], extended_numbering=True)


def test_a_core_of_as_many_pieces_as_pn_xnum_is_for_is_saved_and_read_again(tmp_path):
    save(core_of_many_loads(70_000), tmp_path / "out")
    with open_dump(tmp_path / "out") as dump:
        assert len(dump.memory) == 70_000
        assert dump.read_physical(69_999 << 17, 1) == b"\1"


def test_a_dump_of_more_pieces_than_a_set_of_ranges_has_is_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("fadump.vmcore.check.MOST_RANGES", 4, raising=False)  # it has none any more
    pages = {number: bytes([number + 1]) * PAGE_BYTES for number in range(0, 40, 2)}
    save(build_kdump(sample(stored=pages, excluded=frozenset(range(1, 40, 2)))), tmp_path / "out")
    with open_dump(tmp_path / "out") as dump:
        assert check_dump(dump).whole


def test_a_core_that_could_not_be_read_again_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr("fadump.capture.elf_writer.MOST_MEMORY_RANGES", 16)
    with pytest.raises(FadumpError, match="in 20 pieces, too many for an ELF core: use --format kdump"):
        save(core_of_many_loads(20), tmp_path / "out", Format.ELF)
    assert not (tmp_path / "out").exists()


def test_a_saved_dump_shows_the_same_kernel(tmp_path):
    save(named_kernel(4).core(), tmp_path / "kdump")
    save((tmp_path / "kdump").read_bytes(), tmp_path / "elf", Format.ELF)
    for name in ("kdump", "elf"):
        with open_system(tmp_path / name) as system:
            assert [*vars_of(system.kernel)] == NAMES


def vars_of(name):
    return (name.system, name.node, name.release, name.version, name.machine, name.domain)


def test_pt_loads_that_share_the_bytes_of_the_same_memory_are_right():
    """QEMU's dump-guest-memory with paging lists each mapping."""
    core = bytearray(x86_core([Load(0x1000, b"M" * 8192, virtual=LINEAR), Load(0x1000, b"", 8192, virtual=TEXT)]))
    first = 64 + 56
    core[first + 56 + 8 : first + 56 + 16] = core[first + 8 : first + 16]
    core[first + 56 + 32 : first + 56 + 40] = core[first + 32 : first + 40]
    with open_bytes(bytes(core)) as dump:
        assert isinstance(dump, ElfDump) and len(dump.core.segments) == 2
        assert [found.text for found in check_dump(dump).findings if "PT_LOAD" in found.text] == []
    core[first + 56 + 24 : first + 56 + 32] = struct.pack("<Q", 0x9000)
    with open_bytes(bytes(core)) as dump:
        assert any("share bytes of the file" in found.text for found in check_dump(dump).findings)
