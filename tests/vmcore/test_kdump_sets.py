"""The files of a split dump are one dump, and each alone says what the others have."""

import pytest

from fadump.errors import FormatError
from fadump.vmcore.contract import NotInDumpError, State
from tests.vmcore.core_builder import prstatus
from tests.vmcore.dump_helpers import open_bytes, pieces
from tests.vmcore.kdump_builder import INFO, PAGE_BYTES, STORED, addresses, build_kdump, sample

byte_orders = pytest.mark.parametrize("byte_order", ["little", "big"])


def split_set(**changes):
    bounds = [(0, 2), (2, 20), (20, 20), (20, 64)]
    return [build_kdump(sample(split=bound, **changes)) for bound in bounds]


@byte_orders
@pytest.mark.parametrize("version", [2, 5, 6])
def test_the_files_of_a_split_dump_are_one_in_any_order(version, byte_order):
    first, second, empty, last = split_set(version=version, byte_order=byte_order)
    with open_bytes(empty, last, first, second) as dump:
        for number, content in STORED.items():
            assert dump.read_physical(number * PAGE_BYTES, PAGE_BYTES) == content
        assert dump.read_physical(PAGE_BYTES, 2 * PAGE_BYTES) == STORED[1] + STORED[2]  # of two files
        assert dump.why_not(4 * PAGE_BYTES) is State.EXCLUDED


def test_uncompressed_pieces_say_which_file_they_are_in(monkeypatch):
    monkeypatch.setattr("fadump.vmcore.kdump._LEAST_RUN_PAGES", 1)
    files = split_set(codec="raw")
    with open_bytes(*files) as dump:
        stored = [piece for piece in pieces(dump) if piece.state is State.STORED]
        assert [piece.file for piece in stored] == [0, 1, 1, 3]
        for piece in stored:
            content = files[piece.file][piece.file_offset : piece.file_offset + piece.range.size_bytes]
            assert content == dump.read_physical(piece.range.start, piece.range.size_bytes)
            assert dump.view_physical(piece.range).tobytes() == content


def test_what_the_other_files_of_a_set_have_is_missing():
    first, second, *_ = split_set()
    with open_bytes(second) as dump:
        assert dump.read_physical(2 * PAGE_BYTES, 4) == bytes(4)
        assert [(piece.range, piece.state) for piece in pieces(dump, 0, 10 * PAGE_BYTES)] == [
            (addresses(0, 2), State.MISSING),
            (addresses(2, 3), State.STORED),
            (addresses(3, 6), State.EXCLUDED),
            (addresses(6, 9), State.HOLE),
            (addresses(9, 10), State.STORED),
        ]
        assert dump.why_not(0) is State.MISSING
        assert dump.why_not(40 * PAGE_BYTES) is State.MISSING
    with open_bytes(first) as dump, pytest.raises(NotInDumpError, match="incomplete"):
        dump.read_physical(2 * PAGE_BYTES, 4)


def test_the_absent_files_of_a_set_are_faults():
    first, second, empty, last = split_set()
    with open_bytes(first, second, last) as dump:
        assert not dump.damage  # the empty one isn't missed
    with open_bytes(second, empty) as dump:
        assert [str(found).partition(":")[0] for found in dump.damage] == [
            "the file of this split dump that has pages 0x0..0x2 isn't here",
            "the file of this split dump that has pages 0x14..0x40 isn't here",
        ]


def test_what_one_file_of_a_set_has_lost_the_others_say():
    notes = prstatus({"nip": 1})
    files = split_set(notes=notes)
    files[0] = files[0][: PAGE_BYTES + 104]  # headers, and nothing after them
    with open_bytes(*files) as dump, open_bytes(*files[1:]) as others:
        assert dump.memory == others.memory
        assert (dump.vmcoreinfo, len(dump.notes)) == (INFO, 1)
        assert dump.why_not(0) is State.MISSING
        assert dump.read_physical(9 * PAGE_BYTES, PAGE_BYTES) == STORED[9]
        assert dump.damage


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([sample(), sample()], "not of a split dump"),
        ([sample(split=(0, 2)), sample()], "not of a split dump"),
        ([sample(split=(0, 2)), sample(split=(1, 64))], "the same pages"),
        ([sample(split=(0, 2)), sample(split=(2, 64), nodename="other")], "the node name is .* in one and .*other"),
        ([sample(split=(0, 2)), sample(split=(2, 64), pages=63)], "the number of pages is 64 in one and 63"),
    ],
)
def test_files_that_do_not_belong_together_are_refused(files, message):
    with pytest.raises(FormatError, match=message) as error:
        open_bytes(*map(build_kdump, files))
    offsets = {"not of a split dump": PAGE_BYTES + 12, "the same pages": PAGE_BYTES}
    assert error.value.offset == offsets.get(message)
