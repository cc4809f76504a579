"""The smallest dump with the largest claim, saved in each format."""

import resource

import pytest

from fadump.capture.options import Format, SaveOptions
from fadump.errors import LimitError
from fadump.linux.pages.page_class import DumpLevel
from fadump.vmcore.check import check_dump
from fadump.vmcore.dump import open_dump
from tests.bounded import MIB, bounded
from tests.capture.saving import save_file
from tests.vmcore.core_builder import Load, build_core, note
from tests.vmcore.dump_helpers import open_bytes

PAGE_BYTES = 0x10000
FACTS = b"OSRELEASE=6.12.0\nPAGESIZE=65536\nSYMBOL(swapper_pg_dir)=c000000000000000\nNUMBER(RADIX_MMU)=1\n"


def core_at(address):
    return build_core([Load(address, b"m" * PAGE_BYTES)], [note("VMCOREINFO", 0, FACTS)])


def save(address, path, format_):
    """The sentence that a save ends with, or how much memory it has taken, in KiB."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with open_bytes(core_at(address)) as dump:
        try:
            save_file(dump, path, SaveOptions(levels=(DumpLevel(0),), format=format_, threads=1))
        except LimitError as error:
            return str(error)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before


@pytest.mark.parametrize("format_", list(Format))
@pytest.mark.parametrize("shift", [52, 60, 63])
def test_memory_at_an_address_that_no_machine_has_is_refused(tmp_path, format_, shift):
    found = bounded(save, 1 << shift, tmp_path / "out", format_)
    assert found.startswith(
        f"{(1 << shift - 16) + 1:,} pages up to the end of the dump's memory, more than the 17,179,"
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("format_", list(Format))
def test_memory_at_a_high_address_costs_what_it_holds(tmp_path, format_):
    """One page at 2^47: bitmaps of all pages before it take 256 MiB each, but for their zeros."""
    path = tmp_path / "out"
    kib = bounded(save, 1 << 47, path, format_, most_bytes=2048 * MIB)
    assert kib < 64 << 10
    assert path.stat().st_blocks * 512 < 8 * MIB
    with open_dump(path) as dump:
        assert check_dump(dump).whole
        assert dump.read_physical(1 << 47, PAGE_BYTES) == b"m" * PAGE_BYTES
