"""A small dump whose every page is known, and the judge of whatever a save of it has left on a disk."""

from contextlib import suppress

import numpy as np

from fadump.errors import FormatError
from fadump.vmcore.check import check_dump
from fadump.vmcore.core import NotInDumpError, State
from fadump.vmcore.dump import open_dump
from tests.linux_dump.kernel_builder import FakeKernel, Log, Message, open_bytes
from tests.vmcore.core_builder import Load, build_core, note, prstatus

PAGE = 0x1000
LOW_PAGES, HIGH_AT = 40, 0x40_0000
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
    """A dump of low memory, which has the kernel, and of memory above a hole that begins and ends within a page."""

    def __init__(self):
        kernel = FakeKernel(page_size=PAGE, memory_bytes=LOW_PAGES * PAGE)
        Log(kernel, LOG, count_bits=2, text_bits=8)
        kernel.next = -(-kernel.next // PAGE) * PAGE
        kernel.memory[kernel.next :] = _contents(LOW_PAGES - kernel.next // PAGE)
        high = _contents(48)[0x1B0:-0x100]
        notes = b"".join(prstatus({"nip": number + 1}) for number in range(2))
        notes += note("VMCOREINFO", 0, kernel.vmcoreinfo())
        loads = [Load(0, bytes(kernel.memory)), Load(HIGH_AT + 0x1B0, high)]
        self.dump = open_bytes(build_core(loads, [notes]))
        low = {number: bytes(kernel.memory[number * PAGE :][:PAGE]) for number in range(LOW_PAGES)}
        whole = bytes(0x1B0) + high + bytes(0x100)
        above = {HIGH_AT // PAGE + number: whole[number * PAGE :][:PAGE] for number in range(len(whole) // PAGE)}
        self.pages = low | above
        """What each page holds, by its number; what is no memory in the outermost ones is zeros."""


def read_back(path, wanted):
    """What a dump has of some pages: their bytes, by number, and the state of each; pages it fails on have no bytes."""
    pages, states = {}, {}
    with open_dump(path) as dump:
        for piece in (piece for where in dump.memory for piece in dump.mapping(where)):
            for number in range(piece.range.start // PAGE, -(-piece.range.end // PAGE)):
                states[number] = piece.state
                with suppress(NotInDumpError, FormatError):
                    pages[number] = dump.read_physical(number * PAGE, PAGE)
        assert wanted.keys() >= pages.keys(), "memory that never was"
        return pages, states, check_dump(dump)


def judge(directory, name, source, expected):
    """Nothing lost, nothing invented: whether the dump ``name`` is there, which then must be whole.

    ``expected`` has the state of each page in a save that nothing disturbed.
    """
    for path in directory.iterdir():
        if path.name.endswith("-dmesg.txt"):
            continue
        try:
            pages, states, report = read_back(path, source.pages)
        except FormatError:
            assert path.name != name, "a dump that can't be opened"
            continue
        for number, data in pages.items():
            assert data == source.pages[number], f"{path.name} has other bytes in page {number:#x}"
        if report.whole:
            assert states == expected, f"{path.name} looks whole and isn't"
            assert pages.keys() == {number for number, state in states.items() if state is State.STORED}
        else:
            assert path.name != name, report.findings
    return (directory / name).exists()
