"""A check finds whatever is wrong, says what is left, and finds nothing wrong with a dump that is whole."""

import json
import os
import struct

import pytest

from fadump.cli import main
from fadump.printable import MOST_LISTED
from fadump.vmcore.check import Weight, check_dump, sizes, work_bytes
from fadump.vmcore.contract import State
from fadump.vmcore.dump import open_dump
from fadump.vmcore.source import FileSource
from tests.vmcore.core_builder import Load, build_core, note, prstatus
from tests.vmcore.dump_helpers import open_bytes
from tests.vmcore.kdump_builder import CODECS, INCOMPLETE, PAGE_BYTES, Kdump, build_kdump, flattened

INFO = b"OSRELEASE=6.12.0\nPAGESIZE=4096\n"
NOTES = prstatus({"nip": 1}) + note("VMCOREINFO", 0, INFO)
FIRST_LOAD = 64 + 56


def page(number):
    return struct.pack("<I", number + 1).ljust(64, b"x") * (PAGE_BYTES // 64)


STORED = {number: page(number) for number in range(20)} | {30: bytes(PAGE_BYTES), 31: bytes(PAGE_BYTES)}


def core(**changes):
    return build_core([Load(0x1000, b"m" * 5000), Load(0x8000, b"n" * 100)], [NOTES], **changes)


def kdump(**changes):
    return Kdump(**({"stored": STORED, "excluded": frozenset({40}), "notes": NOTES, "vmcoreinfo": INFO} | changes))


def changed(data, offset, value, size_bytes=8):
    return data[:offset] + value.to_bytes(size_bytes, "little") + data[offset + size_bytes :]


def checked(*files):
    """The report of a check, and how much of memory it was told to have been read."""
    amounts = []
    with open_bytes(*files) as dump:
        report = check_dump(dump, advance=amounts.append)
        assert sum(report.sizes.values()) == dump.memory.size_bytes
        assert report.sizes == sizes(dump)
    return report, sum(amounts)


def texts(report, weight=Weight.DAMAGE):
    return [finding.text for finding in report.findings if finding.weight is weight]


WHOLE = {
    "elf": [core()],
    "elf, flattened": [flattened(core())],
    **{codec: [build_kdump(kdump(codec=codec))] for codec in CODECS},
    "kdump, flattened": [flattened(build_kdump(kdump()))],
    "kdump, split": [build_kdump(kdump(split=bounds)) for bounds in [(0, 7), (7, 64)]],
    "kdump, version 1": [build_kdump(kdump(version=1))],
    "kdump, big-endian": [build_kdump(kdump(byte_order="big", notes=prstatus({}, byte_order="big"), machine="ppc64"))],
}


@pytest.mark.parametrize("files", WHOLE.values(), ids=WHOLE)
def test_a_whole_dump_is_whole(files):
    report, bytes_read = checked(*files)
    assert report.whole
    assert texts(report) == []
    assert bytes_read == report.sizes[State.STORED] > 5000


def test_all_that_is_well_has_no_findings_at_all():
    for data in (core(), build_kdump(kdump())):
        report, _read = checked(data)
        assert report.findings == ()
        assert report.cpus == 1


# ELF


def test_overlapping_segments_are_named_and_no_damage():
    report, _read = checked(build_core([Load(0x1000, b"m" * 5000), Load(0x2000, b"n" * 100)], [NOTES]))
    assert report.whole
    (text,) = texts(report, Weight.REMARK)
    assert "0x1000..0x2388 and 0x2000..0x2064 overlap" in text


def test_segments_that_share_bytes_of_the_file_are_damage():
    data = core()
    second = FIRST_LOAD + 56 + 8
    (text,) = texts(checked(changed(data, second, int.from_bytes(data[second : second + 8], "little") - 2))[0])
    assert "share bytes of the file" in text


def test_memory_that_is_not_in_the_file_is_named():
    report, _read = checked(build_core([Load(0x1000, b"m", memory_bytes=0x1000)], [NOTES]))
    assert report.whole
    assert report.sizes == {State.STORED: 1, State.ZEROS: 4095, State.EXCLUDED: 0, State.MISSING: 0}
    assert "not in the file" in texts(report, Weight.REMARK)[0]


def test_a_core_cut_short_names_what_is_missing():
    report, bytes_read = checked(core()[:-50])
    assert texts(report)[-1] == "memory 0x8032..0x8064 should be in the file and isn't"
    assert report.sizes[State.MISSING] == 50
    assert bytes_read == report.sizes[State.STORED] == 5050


def test_a_core_without_memory_is_damaged():
    assert texts(checked(build_core([], [NOTES]))[0]) == ["it has no memory at all"]


def test_bytes_that_the_disk_does_not_give_are_named(monkeypatch):
    real = os.preadv

    def broken(fd, buffers, offset):
        if offset > 4096:
            raise OSError(5, "Input/output error")
        return real(fd, buffers, offset)

    monkeypatch.setattr("fadump.vmcore.check._PIECE_BYTES", 1024)
    with open_bytes(core()) as dump:
        monkeypatch.setattr("fadump.vmcore.source.os.preadv", broken)
        report = check_dump(dump)
    found = texts(report)
    assert 0 < len(found) <= MOST_LISTED
    assert all("Input/output error" in text for text in found)
    assert report.unreadable_bytes == sum(int(text.split()[0], 16) for text in found)


def test_holes_of_a_file_are_neither_read_nor_counted(tmp_path, monkeypatch):
    path = tmp_path / "sparse"
    header = build_core([Load(0, bytes(1))])[: 64 + 56 - 24]
    path.write_bytes(header + (1 << 40).to_bytes(8, "little") * 2 + bytes(8))
    os.truncate(path, (1 << 40) + (1 << 16))
    read, amounts = [], []
    real = FileSource.read_into

    def counted(source, offset, buffer, what):
        read.append(len(buffer))
        real(source, offset, buffer, what)

    monkeypatch.setattr(FileSource, "read_into", counted)
    with open_dump(path) as dump:
        assert dump.memory.size_bytes == 1 << 40
        assert check_dump(dump, advance=amounts.append).whole
        assert sum(amounts) == work_bytes(dump) < 1 << 16
    assert sum(read) < 1 << 22


# Notes


@pytest.mark.parametrize(
    ("notes", "weight", "message"),
    [
        (note("CORE", 1, bytes(400)) + note("VMCOREINFO", 0, INFO), Weight.DAMAGE, "NT_PRSTATUS cut short"),
        (prstatus({}) + note("VMCOREINFO", 0, b"PAGESIZE=4096\n"), Weight.DAMAGE, "doesn't say OSRELEASE"),
        (prstatus({}) + note("VMCOREINFO", 0, b"OSRELEASE=6\n"), Weight.DAMAGE, "doesn't say PAGESIZE"),
        (prstatus({}), Weight.REMARK, "no VMCOREINFO"),
        (note("VMCOREINFO", 0, INFO), Weight.REMARK, "no CPU's registers"),
    ],
)
def test_notes_are_looked_into(notes, weight, message):
    for data in (build_core([Load(0, b"x")], [notes]), build_kdump(kdump(notes=notes, vmcoreinfo=b""))):
        report, _read = checked(data)
        (text,) = texts(report, weight)
        assert message in text
        assert report.whole is (weight is Weight.REMARK)


def test_a_page_size_that_vmcoreinfo_contradicts_is_damage():
    info = INFO.replace(b"4096", b"65536")
    (text,) = texts(checked(build_kdump(kdump(vmcoreinfo=info)))[0])
    assert text == "its pages are 4096 bytes, VMCOREINFO says 65536"


# kdump-compressed


def test_a_page_that_does_not_unpack_is_named_and_the_rest_is_read():
    dump = kdump()
    data = build_kdump(dump)
    report, bytes_read = checked(changed(data, dump.places["data"], 0, 4))
    (text,) = texts(report)
    assert text.startswith("page 0x0 can't be read: page doesn't unpack with ZLIB")
    assert bytes_read == report.sizes[State.STORED]
    assert report.unreadable_bytes == 4096


def test_many_findings_of_one_sort_are_counted():
    dump = kdump(codec="zstd")
    data = build_kdump(dump)
    found = texts(checked(data[: dump.places["data"]] + bytes(len(data) - dump.places["data"]))[0])
    assert len(found) == MOST_LISTED + 1
    assert found[-1] == f"and {21 - MOST_LISTED} more like that"  # 22 pages, of which the two of zeros are one


def test_pages_that_share_bytes_are_damage():
    dump = kdump(codec="raw")
    data = build_kdump(dump)
    second = dump.places["descriptors"] + 24
    found = texts(checked(changed(data, second, dump.places["data"] + 100))[0])
    assert found == [
        f"page 0x1000 shares bytes of the file with another, before offset {dump.places['data'] + 4096:#x}"
    ]


def test_a_page_in_the_file_that_was_no_memory_is_damage():
    dump = kdump()
    data = bytearray(build_kdump(dump))
    data[dump.places["bitmap"]] &= ~0x10  # page 4
    assert texts(checked(bytes(data))[0]) == ["pages 0x4000..0x5000 are in the file, and were no memory"]


def test_an_incomplete_dump_is_damaged():
    report, _read = checked(build_kdump(kdump(status=INCOMPLETE, lost=frozenset({21, 22}))))
    assert [text.split(" at ")[0] for text in texts(report)] == [
        "marked as incomplete by who wrote it",
        "memory 0x15000..0x17000 should be in the file and isn't",
    ]


def test_the_absent_file_of_a_set_is_named():
    first, _second, third = (build_kdump(kdump(split=bounds)) for bounds in [(0, 7), (7, 12), (12, 64)])
    found = texts(checked(third, first)[0])
    assert any("the file of this split dump that has pages 0x7..0xc isn't here" in text for text in found)
    assert "memory 0x7000..0xc000 should be in the file and isn't" in found


def test_a_stream_cut_short_says_so():
    report, _read = checked(flattened(build_kdump(kdump()), end=b""))
    assert "it has no end" in texts(report)[0]


# The command


@pytest.fixture
def run(tmp_path, capsys):
    """Runs ``fadump check`` on files with these bytes; its exit status, stdout and stderr."""

    def call(*files, options=()):
        paths = []
        for number, data in enumerate(files):
            paths.append(tmp_path / f"vmcore-{number}")
            paths[-1].write_bytes(data)
        status = main(["check", *map(str, paths), *options])
        return status, *capsys.readouterr()

    return call


def test_the_command_says_whole_and_ends_with_0(run):
    status, out, err = run(*WHOLE["kdump, split"])
    assert (status, out.splitlines()[-1]) == (0, "whole")
    assert out.startswith("kdump-compressed, ppc64le, registers of 1 CPU\n  in the file        88.0 KiB\n")
    assert "Checking" in err and "Checking" not in out


def test_the_command_says_what_is_wrong_and_ends_with_1(run):
    status, out, _err = run(flattened(core()[:-50]))
    lines = out.splitlines()
    assert status == 1
    assert lines[0] == "ELF core, flattened, ppc64le, registers of 1 CPU"
    assert "damage: memory 0x8032..0x8064 should be in the file and isn't" in lines
    assert lines[-1] == "not whole; 4.9 KiB of 5.0 KiB can be looked at"


def test_what_cannot_be_read_cannot_be_looked_at(run):
    dump = kdump()
    _status, out, _err = run(changed(build_kdump(dump), dump.places["data"], 0, 4))
    assert out.splitlines()[-1].startswith("not whole; 84.0 KiB of ")


def test_the_command_says_when_nothing_can_be_read(run):
    status, out, _err = run(build_kdump(kdump(stored={}, lost=frozenset({1, 2}))))
    assert (status, out.splitlines()[-1]) == (1, "not whole, and no memory in it can be read")


def test_the_commands_json_is_one_object(run):
    status, out, err = run(core()[:-50], options=["--json"])
    shown = json.loads(out)
    assert status == 1
    assert (shown["result"], shown["kind"], shown["flattened"], shown["machine"]) == (
        "damaged",
        "elf",
        False,
        "ppc64le",
    )
    assert (shown["memory_bytes"], shown["stored_bytes"], shown["missing_bytes"], shown["cpus"]) == (5100, 5050, 50, 1)
    assert shown["findings"][-1] == {
        "weight": "damage",
        "text": "memory 0x8032..0x8064 should be in the file and isn't",
    }
    assert "not whole" in err
    status, out, _err = run(core(), options=["--json"])
    assert (status, json.loads(out)["result"], json.loads(out)["findings"]) == (0, "whole", [])


def test_a_file_that_is_no_dump_is_an_error_in_json_too(tmp_path, capsys):
    path = tmp_path / "file"
    path.write_bytes(b"something else")
    assert main(["check", str(path), "--json"]) == 1
    shown = json.loads(capsys.readouterr().out)
    assert shown["result"] == "failed" and "not a dump file" in shown["error"]
    assert main(["check", str(path)]) == 1
    assert capsys.readouterr().out == ""
