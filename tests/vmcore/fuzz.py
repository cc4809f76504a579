"""What any file at all may do to whoever opens, reads and checks it: nothing but FormatError."""

import contextlib

from fadump.errors import FormatError
from fadump.vmcore.check import check_dump
from tests.vmcore.core_builder import Load, build_core, note, prstatus
from tests.vmcore.dump_helpers import open_bytes, read_all
from tests.vmcore.kdump_builder import Kdump, build_kdump, flattened

NOTES = prstatus({"nip": 1}) + note("VMCOREINFO", 0, b"OSRELEASE=6\nPAGESIZE=4096\n")
PAGES = {0: bytes(range(256)) * 16, 1: b"one!" * 1024, 3: bytes(4096), 9: bytes(4096)}


def exercise(data: bytes) -> None:
    """Open, read and check a file with these bytes; a file that can't be opened is none of the others' business."""
    with contextlib.suppress(FormatError), open_bytes(data) as dump:
        damaged = read_all(dump)
        report = check_dump(dump)
        assert damaged == 0 or not report.whole
        assert sum(report.sizes.values()) == dump.memory.size_bytes


def seeds() -> list[bytes]:
    """Whole dumps of every kind, small."""
    kdumps = [
        build_kdump(Kdump(PAGES, frozenset({5}), pages=16, notes=NOTES, codec=codec, version=version))
        for version, codec in enumerate(["raw", "zlib", "lzo", "snappy", "zstd", "zlib"], 1)
    ]
    cores = [
        build_core([Load(0, b"m" * 64), Load(0x1000, b"n" * 64)], [NOTES], extended_numbering=x) for x in (False, True)
    ]
    split = build_kdump(Kdump(PAGES, pages=16, notes=NOTES, split=(1, 9)))
    return [*kdumps, split, *cores, flattened(cores[0], 100), flattened(kdumps[1], 2000)]
