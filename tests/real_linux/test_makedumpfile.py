"""makedumpfile, which we did not write, rewrites a real dump in all its ways; every page of that is the same memory."""

from pathlib import Path

import pytest

from fadump.vmcore.check import check_dump
from fadump.vmcore.contract import Kind
from fadump.vmcore.dump import open_dump
from tests.real_linux.page_sets import compared


@pytest.fixture(scope="module")
def vmcore(cycle):
    with open_dump(cycle.json["vmcore"]) as dump:
        assert not dump.damage
        yield Path(cycle.json["vmcore"]), dump


@pytest.mark.parametrize(
    ("options", "kind", "flattened"),
    [
        (["-c", "-d", "31"], Kind.KDUMP, False),
        (["-l", "-d", "31"], Kind.KDUMP, False),
        (["-z", "-d", "31"], Kind.KDUMP, False),
        (["-d", "31"], Kind.KDUMP, False),
        (["-z", "-d", "0"], Kind.KDUMP, False),
        (["-l", "-d", "1"], Kind.KDUMP, False),
        (["-E", "-d", "31"], Kind.ELF, False),
        (["-F", "-c", "-d", "31"], Kind.KDUMP, True),
        (["-F", "-E", "-d", "31"], Kind.ELF, True),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_every_page_reads_as_in_the_dump(tmp_path, makedumpfile, vmcore, options, kind, flattened):
    path, original = vmcore
    out = tmp_path / "out"
    if flattened:
        with out.open("wb") as file:
            makedumpfile.run(*options, path, stdout=file)
    else:
        makedumpfile.run(*options, path, out)
    with open_dump(out) as dump:
        assert (dump.kind, dump.flattened, dump.machine) == (kind, flattened, original.machine)
        assert dump.vmcoreinfo == original.vmcoreinfo
        assert [note.desc for note in dump.notes] == [note.desc for note in original.notes]
        assert not original.memory - dump.memory
        bytes_compared = compared(dump, original)
        if "31" in options:
            assert 10 << 20 < bytes_compared < original.memory.size_bytes // 2
        else:
            assert bytes_compared == original.memory.size_bytes
        report = check_dump(dump)
        assert report.whole, report.findings


def test_the_files_of_a_split_dump_are_one(tmp_path, makedumpfile, vmcore):
    path, original = vmcore
    parts = [tmp_path / "part-1", tmp_path / "part-2"]
    makedumpfile.run("--split", "-c", "-d", "31", path, *parts)
    with open_dump(parts[::-1]) as dump, open_dump(parts[0]) as first, open_dump(parts[1]) as second:
        assert check_dump(dump).whole
        together = compared(dump, original)
        assert together == compared(first, original) + compared(second, original)
        assert not check_dump(first).whole


def test_a_dump_cut_short_is_read_as_far_as_it_goes(tmp_path, makedumpfile, vmcore):
    path, original = vmcore
    out = tmp_path / "out"
    makedumpfile.run("-c", "-d", "31", path, out)
    with open_dump(out) as dump:
        whole = compared(dump, original)
    with out.open("r+b") as file:
        file.truncate(out.stat().st_size // 2)
    with open_dump(out) as dump:
        assert 0 < compared(dump, original) < whole
        assert not check_dump(dump).whole
