"""Which pages makedumpfile leaves out of a real dump, against which are of the classes that a dump level leaves out."""

import re

import numpy as np

from fadump.abi.linux.page_table import PAGE_OFFSET
from fadump.capture.options import SaveOptions
from fadump.capture.packers import Compression
from fadump.linux.pages.page_class import DumpLevel, PageClass, left_out
from fadump.linux.system import open_system
from fadump.memory.ranges import Range, RangeSet
from fadump.vmcore.contract import State
from fadump.vmcore.dump import open_dump
from fadump.vmcore.elfcore import ElfCore
from tests.capture.saving import save_file
from tests.real_linux.scenario import Scenario

LEVELS = (1, 2, 4, 8, 16, 31)
VIEW_BYTES = 64 << 20
RADIX_4K_DIRECTORY_SHIFT = 39
RADIX_DIRECTORY_ENTRIES = 1 << 13
WORD_BYTES = 8
WORKLOAD = r"""
mkdir -p /mnt /disk && mount -t tmpfs tmpfs /mnt || exit 1
head -c 40M /dev/urandom >/mnt/file
mke2fs -F /dev/vda >/dev/null && mount -t ext4 /dev/vda /disk || exit 1
head -c 24M /dev/urandom >/disk/file && sync && cat /disk/file >/dev/null
(head -c 30000000 /dev/zero | tr '\000' x; sleep 1000) | tail >/dev/null &
echo 4 >/proc/sys/vm/nr_hugepages
find /proc /sys >/dev/null 2>&1
anonymous_kb() { sed -n 's/^AnonPages: *\([0-9]*\) kB/\1/p' /proc/meminfo; }
until [ "$(anonymous_kb)" -gt 20000 ]; do usleep 100000; done
"""
"""Page cache with and without buffers, tmpfs, anonymous memory, huge pages, slab; the disk is the dump's, later."""
BUSY_CPUS = r"""
echo 0 >/sys/devices/system/cpu/cpu1/online || exit 1
(while :; do :; done) &
dd if=/dev/zero of=/dev/null bs=1M 2>/dev/null &
"""
"""The second CPU offline, one in user space and one in the kernel."""


def crash_under_load(directory, kernel, script=WORKLOAD, crash_cpu=0, **machine):
    """A dump of a machine that has used its memory in every way."""
    with Scenario(directory, kernel, **machine) as scenario:
        scenario.hello()
        scenario.register()  # as newer kernels have done by themselves
        scenario.run(script)
        scenario.crash(cpu=crash_cpu)
        scenario.save()
    return directory / "vmcore.incomplete"


def compare_page_sets(vmcore, makedumpfile, out):
    """Pages that a level leaves out here and not there, or there and not here, by level; none, if all is well.

    What is saved here leaves out the same again. makedumpfile writes every page of zeros as the same bytes and doesn't
    count it as left out, so of those only the number is compared.
    """
    differing = {}
    with open_system(vmcore) as system:
        classes = system.page_classes
        size = classes.page_bytes
        pages = whole_pages(system)
        memory = [Range(piece.start * size, piece.end * size) for piece in pages]
        kinds = np.concatenate([classes.of(piece) for piece in pages])
        zeros = np.concatenate([zeros_in(system.dump, piece, size) for piece in memory])
        zero_edges = sum(edges_of_zeros(system.dump, piece, size) for piece in system.dump.memory)
        saved = {level: excluded_from_ours(system.dump, level, out, memory, size) for level in LEVELS}
    counts = {page_class.name: int((kinds == page_class).sum()) for page_class in PageClass}
    for level in LEVELS:
        gone = np.array([page_class in left_out(DumpLevel(level)) for page_class in PageClass])[kinds]
        told = makedumpfile.run("--message-level", 31, "-d", level, "-l", vmcore, out)
        with open_dump(out) as dump:
            theirs = np.concatenate([excluded_in(dump, piece, size) for piece in memory])
        out.unlink()
        if (wrong := np.flatnonzero(saved[level] != theirs)).size:
            differing[f"saved at {level}"] = wrong[:20].tolist()
        if (wrong := np.flatnonzero(gone != theirs)).size:
            differing[level] = [(int(page), PageClass(int(kinds[page])).name) for page in wrong[:20]]
        if level & DumpLevel.ZERO:
            counted = int(re.search(r"Pages filled with zero +: (0x[0-9a-f]+)", told)[1], 16)
            if counted != (ours := int((zeros & ~gone).sum()) + zero_edges):
                differing[f"zeros of {level}"] = (ours, counted)
    return counts, differing


def whole_pages(system):
    """Which pages the dump has whole, by number, in ranges."""
    size = system.page_classes.page_bytes
    return [Range(-(-piece.start // size), piece.end // size) for piece in system.dump.memory]


def excluded_from_ours(source, level, out, memory, size):
    """Which pages ``fadump save`` leaves out."""
    save_file(source, out, SaveOptions(levels=(DumpLevel(level),), compression=Compression.LZO, threads=2))
    with open_dump(out) as dump:
        excluded = np.concatenate([excluded_in(dump, piece, size) for piece in memory])
    out.unlink()
    return excluded


def lead_makedumpfile_to_vmemmap(vmcore):
    """Put the page directory's entry for struct pages where makedumpfile looks for it, in an ELF core of a kernel with
    pages of 4 KiB and radix; docs/page-classes.md says why."""
    with open_system(vmcore) as system:
        directory = system.vmcoreinfo.symbol("swapper_pg_dir") - PAGE_OFFSET
        place = (system.vmcoreinfo.symbol("vmemmap") >> RADIX_4K_DIRECTORY_SHIFT) % RADIX_DIRECTORY_ENTRIES * WORD_BYTES
        entry = system.dump.read_physical(directory + place, WORD_BYTES)
    looked_at = directory + place % system.page_bytes
    assert any(entry) and place >= system.page_bytes
    with ElfCore.open(vmcore) as core:
        (extent,) = core.extents(Range.sized(looked_at, WORD_BYTES))
    with vmcore.open("r+b") as file:
        file.seek(extent.file_offset)
        file.write(entry)


def zeros_in(dump, memory, size):
    """Which pages are all zeros."""
    pieces = (Range(at, min(at + VIEW_BYTES, memory.end)) for at in range(memory.start, memory.end, VIEW_BYTES))
    return np.concatenate(
        [~np.frombuffer(dump.view_physical(piece), np.uint8).reshape(-1, size).any(axis=1) for piece in pieces]
    )


def edges_of_zeros(dump, memory, size):
    """How many pages begin before or end behind some memory and have zeros there: the reserved area ends within one."""
    edges = [Range(memory.start, -(-memory.start // size) * size), Range(memory.end // size * size, memory.end)]
    return sum(not dump.view_physical(edge).any() for edge in edges if edge)


def excluded_in(dump, memory, size):
    """Which pages a dump has left out."""
    excluded = np.zeros(memory.size_bytes // size, bool)
    for piece in dump.mapping(memory):
        assert piece.state in (State.STORED, State.EXCLUDED), piece
        at = slice((piece.range.start - memory.start) // size, (piece.range.end - memory.start) // size)
        excluded[at] = piece.state is State.EXCLUDED
    return excluded


def compared(dump, original, states=(State.STORED,)):
    """How many bytes of memory a dump has, all of which must be those of the original.

    An ELF core that leaves nothing out has zeros in State.ZEROS, in which others have what they leave out.
    """
    bytes_compared = 0
    for memory in dump.memory:
        for piece in dump.mapping(memory):
            if piece.state not in states:
                continue
            for part in original.memory & RangeSet([piece.range]):  # its first and last page may be part of a page
                for start in range(part.start, part.end, VIEW_BYTES):
                    here = Range(start, min(start + VIEW_BYTES, part.end))
                    assert (dump.view_physical(here) == original.view_physical(here)).all(), f"{here} differs"
                    bytes_compared += here.size_bytes
    return bytes_compared
