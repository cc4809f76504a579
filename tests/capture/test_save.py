"""Whatever is saved is read back and compared, page by page."""

import os
import stat

import numpy as np
import pytest

from fadump.capture.options import Format, SaveOptions
from fadump.capture.packers import Compression
from fadump.errors import FadumpError, SetupError
from fadump.linux.pages.page_class import DumpLevel, PageClass, left_out
from fadump.vmcore.check import check_dump
from fadump.vmcore.contract import State
from fadump.vmcore.dump import open_dump
from tests.capture.contents import differing_pages, states_of
from tests.capture.saving import save_file
from tests.vmcore.core_builder import Load, build_core, note
from tests.vmcore.dump_helpers import open_bytes


def save(source, destination, level=0, **options):
    with open_dump(source) as dump:
        return save_file(dump, destination, SaveOptions(levels=(DumpLevel(level),), **options))


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("compression", list(Compression))
def test_every_page_is_read_back_as_it_was(vmcore, truth, tmp_path, compression, threads):
    saved = save(vmcore, tmp_path / "out", compression=compression, threads=threads)
    with open_dump(tmp_path / "out") as dump, open_dump(vmcore) as source:
        assert set(states_of(dump, truth.pages)) == {State.STORED}
        assert differing_pages(dump, source) == []
        assert check_dump(dump).whole
        assert dump.memory == source.memory
        assert dump.vmcoreinfo == source.vmcoreinfo
        assert [n.desc for n in dump.notes if n.is_prstatus()] == [n.desc for n in source.notes if n.is_prstatus()]
    assert saved.complete and saved.size_bytes == (tmp_path / "out").stat().st_size


@pytest.mark.parametrize("level", [*range(32)])
def test_a_level_leaves_out_the_pages_of_its_classes(vmcore, truth, tmp_path, level):
    saved = save(vmcore, tmp_path / "out", level, compression=Compression.SNAPPY)
    gone = np.isin(truth.classes(), list(left_out(DumpLevel(level))))
    with open_dump(tmp_path / "out") as dump, open_dump(vmcore) as source:
        assert [state is State.EXCLUDED for state in states_of(dump, truth.pages)] == gone.tolist()
        assert differing_pages(dump, source) == []
        assert dump.header.dump_level == level
    report = saved.pages
    counts = {page_class: int((truth.classes()[gone] == page_class).sum()) for page_class in PageClass}
    assert {page_class: report.excluded.get(page_class, 0) for page_class in PageClass} == counts
    assert report.original == report.total == truth.pages
    assert report.remaining == truth.pages - gone.sum() - report.zeros
    assert bool(report.zeros) == bool(level & 1)


def test_pages_of_zeros_are_one_in_the_file(tmp_path):
    with open_bytes(kernel_core([Load(0, bytes(1 << 20))])) as dump:
        saved = save_file(dump, tmp_path / "out", SaveOptions(levels=(DumpLevel.ZERO,), compression=Compression.NONE))
    assert saved.pages.zeros == 256 and saved.pages.remaining == 0
    assert saved.size_bytes < 8 * 4096 + 256 * 24


@pytest.mark.parametrize("byte_order", ["little", "big"])
def test_memory_that_begins_and_ends_within_pages_is_padded_with_zeros(tmp_path, byte_order):
    data = os.urandom(0x3000)
    loads = [Load(0x1234, data), Load(0x10000, b"x" * 0x800), Load(0x10900, b"y")]
    with open_bytes(kernel_core(loads, byte_order)) as source:
        saved = save_file(source, tmp_path / "out", SaveOptions())
    with open_dump(tmp_path / "out") as dump:
        assert dump.byte_order == byte_order and dump.machine == source.machine
        assert dump.read_physical(0x1000, 0x4000) == bytes(0x234) + data + bytes(0xDCC)
        assert dump.read_physical(0x10000, 0x1000) == b"x" * 0x800 + bytes(0x100) + b"y" + bytes(0x6FF)
        assert check_dump(dump).whole
    assert saved.pages.original == 5 and saved.pages.total == 17


def test_a_dump_that_does_not_say_what_pages_are_is_saved_whole_and_that_is_said(tmp_path):
    with open_bytes(kernel_core([Load(0, os.urandom(0x4000))])) as source:
        saved = save_file(source, tmp_path / "out", SaveOptions(levels=(DumpLevel(31),)))
    assert saved.pages.remaining == 4
    (remark,) = [remark for remark in saved.remarks if "no page is left out" in remark]
    assert "SIZE(page)" in remark


def test_a_dump_without_page_size_is_refused(tmp_path):
    core = open_bytes(build_core([Load(0, bytes(0x4000))]))
    with core as source, pytest.raises(FadumpError, match="how large a page is"):
        save_file(source, tmp_path / "out", SaveOptions())
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_replaced(vmcore, tmp_path):
    (tmp_path / "out").write_bytes(b"mine")
    with pytest.raises(SetupError, match="exists and is not replaced"):
        save(vmcore, tmp_path / "out")
    (tmp_path / "new.incomplete").write_bytes(b"half")
    with pytest.raises(SetupError, match="--continue"):
        save(vmcore, tmp_path / "new")
    assert (tmp_path / "out").read_bytes() == b"mine" and (tmp_path / "new.incomplete").read_bytes() == b"half"


def test_files_are_their_owners_only_and_the_log_stands_beside(vmcore, tmp_path):
    saved = save(vmcore, tmp_path / "out", 31)
    assert saved.dmesg == tmp_path / "out-dmesg.txt"
    assert "Kernel panic - not syncing: sysrq triggered crash" in saved.dmesg.read_text()
    assert {path.name for path in tmp_path.iterdir()} == {"out", "out-dmesg.txt"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}


@pytest.mark.parametrize("byte_order", ["little", "big"])
def test_an_elf_core_has_such_memory_as_it_was(tmp_path, byte_order):
    loads = [Load(0x1234, os.urandom(0x3000)), Load(0x10000, b"x" * 0x800), Load(0x10900, b"y"), Load(0x20000, b"z")]
    with open_bytes(kernel_core(loads, byte_order)) as source:
        save_file(source, tmp_path / "out", SaveOptions(format=Format.ELF))
        with open_dump(tmp_path / "out") as dump:
            assert dump.memory == source.memory and dump.machine == source.machine
            assert differing_pages(dump, source) == [] and check_dump(dump).whole
            assert dump.core.flags == {"little": 2, "big": 1}[byte_order]


def kernel_core(loads, byte_order="little"):
    info = note("VMCOREINFO", 0, b"OSRELEASE=6.12.0\nPAGESIZE=4096\n", byte_order)
    return build_core(loads, [info], byte_order=byte_order)
