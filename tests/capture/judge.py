"""A small dump whose every page is known, and the judge of whatever a save of it has left on a disk."""

from contextlib import suppress

import numpy as np

from fadump.capture import batches, elf_writer, job, kdump_writer
from fadump.errors import FormatError
from fadump.linux.log.reader import read_log
from fadump.memory.ranges import Range
from fadump.vmcore.check import check_dump
from fadump.vmcore.contract import READABLE, NotInDumpError
from fadump.vmcore.dump import open_dump
from tests.linux.kernel_builder import FakeKernel, Log, Message
from tests.vmcore.core_builder import Load, build_core, note, prstatus
from tests.vmcore.dump_helpers import open_bytes

PAGE = 0x1000
LOW_PAGES, HIGH_AT = 40, 0x40_0000
SPARSE_AT, SPARSE_PAGES = 0x60_0000, 56
"""Memory of which the file has a page in the middle, and nothing of the others, which are zeros."""
LOG = [Message(b"Linux version 6.12.0-fake"), Message(b"Kernel panic - not syncing: sysrq triggered crash", 5)]


def _contents(count):
    """Every fourth page is zeros, every fourth doesn't get smaller, the others do."""
    rng = np.random.default_rng(7)
    kinds = (
        lambda: bytes(PAGE),
        lambda: rng.bytes(PAGE),
        lambda: rng.bytes(64) * (PAGE // 64),
        lambda: bytes(PAGE - 1) + rng.bytes(1),
    )
    return b"".join(kinds[number % 4]() for number in range(count))


class Source:
    """A dump of low memory, which has the kernel, of memory above a hole that begins and ends within a page, and of
    memory of which nearly nothing is in the file."""

    def __init__(self, low_pages=LOW_PAGES):
        kernel = FakeKernel(page_bytes=PAGE, memory_bytes=low_pages * PAGE)
        Log(kernel, LOG, count_bits=2, text_bits=8)
        kernel.next = -(-kernel.next // PAGE) * PAGE
        kernel.memory[kernel.next :] = _contents(low_pages - kernel.next // PAGE)
        high = _contents(48)[0x1B0:-0x100]
        notes = b"".join(prstatus({"nip": number + 1}) for number in range(2))
        notes += note("VMCOREINFO", 0, kernel.vmcoreinfo())
        half = SPARSE_PAGES // 2 * PAGE
        alone = np.random.default_rng(8).bytes(PAGE)
        loads = [
            Load(0, bytes(kernel.memory)),
            Load(HIGH_AT + 0x1B0, high),
            Load(SPARSE_AT, b"", memory_bytes=half),
            Load(SPARSE_AT + half, alone, memory_bytes=half),
        ]
        self.log = "".join(f"{line}\n" for record in read_log(kernel.read()) for line in record.lines())
        self.dump = open_bytes(build_core(loads, [notes]))
        low = {number: bytes(kernel.memory[number * PAGE :][:PAGE]) for number in range(low_pages)}
        whole = bytes(0x1B0) + high + bytes(0x100)
        above = {HIGH_AT // PAGE + number: whole[number * PAGE :][:PAGE] for number in range(len(whole) // PAGE)}
        zeros = {SPARSE_AT // PAGE + number: bytes(PAGE) for number in range(SPARSE_PAGES)}
        self.pages = low | above | zeros | {(SPARSE_AT + half) // PAGE: alone}
        """What each page holds, by its number; what is no memory in the outermost ones is zeros."""

    def read(self, part):
        """The bytes of some addresses within a page; memory that never was has none."""
        at = part.start % PAGE
        return self.pages.get(part.start // PAGE, b"")[at : at + part.size_bytes]


def in_many_records(patch):
    """Let a small dump be saved in as many steps as a large one."""
    patch.setattr(batches, "BATCH_BYTES", 8 * PAGE)
    patch.setattr(batches, "LEAST_ZEROS_BYTES", 4 * PAGE)
    patch.setattr(batches, "_MOST_ZEROS_PAGES", 12)
    patch.setattr(job, "LEAST_ZEROS_BYTES", 4 * PAGE)
    patch.setattr(elf_writer, "LEAST_ABSENT_BYTES", 28 * PAGE)
    patch.setattr(kdump_writer, "CHECKPOINT_BYTES", 12 * PAGE)
    patch.setattr(elf_writer, "CHECKPOINT_BYTES", 12 * PAGE)


def read_back(paths, source):
    """Which pages of a dump can be read, all as the source has them; the state of each; and what a check says."""
    readable, states = set(), {}
    with open_dump(paths) as dump:
        for piece in (piece for where in dump.memory for piece in dump.mapping(where)):
            for number in range(piece.range.start // PAGE, -(-piece.range.end // PAGE)):
                states[number] = piece.state
                part = piece.range.intersection(Range.sized(number * PAGE, PAGE))
                with suppress(NotInDumpError, FormatError):
                    data = dump.read_physical(part.start, part.size_bytes)
                    assert data == source.read(part), f"{paths} has other bytes in page {number:#x}"
                    readable.add(number)
        return readable, states, check_dump(dump)


def judge(directory, names, source, expected):
    """Nothing lost, nothing invented: whether the dump, whose files have these ``names``, is there, and whole then.

    ``expected`` has the state of each page in a save that nothing disturbed.
    """
    for path in directory.iterdir():
        if path.name.endswith("-dmesg.txt"):
            assert path.read_text() == source.log, "a log that isn't all there"
        elif "-dmesg.txt" not in path.name:
            _judge(path, source, expected, published=[path.name] == names)
    files = [directory / name for name in names]
    if not all(path.exists() for path in files):
        return False
    if len(files) > 1:
        _judge(files, source, expected, published=True)
    return True


def _judge(paths, source, expected, *, published):
    try:
        readable, states, report = read_back(paths, source)
    except FormatError:
        assert not published, "a dump that can't be opened"
        return
    assert report.whole or not published, report.findings
    if report.whole:
        assert states == expected, f"{paths} looks whole and isn't"
        assert readable == {number for number, state in states.items() if state in READABLE}
