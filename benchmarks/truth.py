"""A crashed kernel's dump of any size whose pages are known one by one, written in seconds.

Linux 6.12's struct pages of 64 bytes in 4K pages, radix, little-endian. A pattern of 1 GiB is repeated: blocks of 2 MiB
that are free, one huge anonymous page, or single pages of all kinds. Below it stand the kernel's own memory, 8 MiB, and
its struct pages, which are kernel pages. Structures are laid out by the tests' builder, which shares no code with what
reads them.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.report import MIB
from fadump.abi.elf import (
    ELF_HEADER,
    EM_PPC64,
    PF_RWX,
    PROGRAM_HEADER,
    PT_LOAD,
    PT_NOTE,
    ProgramHeader,
    encode_core_header,
)
from fadump.abi.linux.pt_regs import REGISTER_NAMES
from fadump.linux.pages.page_class import PageClass
from tests.linux.kernel_builder import PAGE_OFFSET, VMEMMAP_START, FakeKernel, Log, Message, PageTables, add_stack
from tests.vmcore.core_builder import note, prstatus
from tests.vmcore.kdump_builder import CODECS, Kdump, build_kdump

PAGE = 4096
STRUCT = 64
SECTION_BITS = 24
KERNEL_BYTES = 8 * MIB
PATTERN_PAGES = 1 << 18
_BLOCK = 512
_ORDERS = 11
_PER_PAGE = PAGE // STRUCT
_LRU, _PRIVATE, _SWAPBACKED, _HEAD = 1 << 5, 1 << 14, 1 << 17, 1 << 6
_BUDDY, _OFFLINE, _HUGETLB, _SLAB = (kind << 24 for kind in (0xF0, 0xF1, 0xF4, 0xF5))
_PAGE_TYPE = np.dtype(
    {
        "names": ["flags", "head", "mapping", "private", "mapcount"],
        "formats": ["<u8", "<u8", "<u8", "<u8", "<u4"],
        "offsets": [0, 8, 24, 40, 48],
        "itemsize": STRUCT,
    }
)
_DESCRIPTOR = np.dtype([("offset", "<u8"), ("size", "<u4"), ("flags", "<u4"), ("page_flags", "<u8")])

Pages = npt.NDArray[np.void]
Classes = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Truth:
    """A kernel in ``size_bytes`` of memory. ``pattern`` are the struct pages that are repeated, ``kinds`` their
    classes; the first ``own_pages`` pages of memory are the kernel's."""

    size_bytes: int
    kernel: FakeKernel
    pattern: Pages
    kinds: Classes
    own_pages: int

    @property
    def pages(self) -> int:
        """How many pages memory has."""
        return self.size_bytes // PAGE

    @property
    def kernel_bytes(self) -> int:
        """What the kernel's own memory takes; its struct pages stand behind it."""
        return len(self.kernel.memory)

    @property
    def struct_pages(self) -> int:
        """How many pages the struct pages take."""
        return self.pages // _PER_PAGE

    def classes(self) -> Classes:
        """The class of each page."""
        found = np.resize(self.kinds, self.pages)
        found[: self.own_pages] = PageClass.KERNEL
        return found

    def struct_sources(self) -> npt.NDArray[np.int64]:
        """For each page of struct pages, which page of the pattern it is; -1: a page of the kernel's own."""
        found = np.arange(self.struct_pages) % (len(self.pattern) // _PER_PAGE)
        found[: self.own_pages // _PER_PAGE] = -1
        return found


def make_truth(size_bytes: int, symbols: int = 100_000, seed: int = 1, section_bits: int = SECTION_BITS) -> Truth:
    """A kernel with so many symbols; ``size_bytes`` is a multiple of 32 MiB and of a section of memory."""
    kernel = FakeKernel(page_bytes=PAGE, memory_bytes=KERNEL_BYTES)
    describe_pages(kernel, PageTables(kernel), size_bytes, section_bits)
    _add_crash(kernel, symbols)
    return truth_of(kernel, size_bytes, seed)


def truth_of(kernel: FakeKernel, size_bytes: int, seed: int = 1) -> Truth:
    """A kernel that has :func:`describe_pages`, in so much memory."""
    pages = size_bytes // PAGE
    own_bytes = len(kernel.memory) + pages * STRUCT
    pattern, kinds = _pattern(min(pages, PATTERN_PAGES), seed)
    return Truth(size_bytes, kernel, pattern, kinds, -(-own_bytes // (PAGE * _BLOCK)) * _BLOCK)


def write_elf(truth: Truth, path: Path) -> None:
    """An ELF core in one PT_LOAD. Users' memory is zeros, and a hole in the file."""
    notes = _notes(truth)
    at, data_at = ELF_HEADER.size_bytes + 2 * PROGRAM_HEADER.size_bytes, MIB
    notes_header = ProgramHeader(PT_NOTE, 0, at, 0, 0, len(notes), len(notes), 4)
    load_header = ProgramHeader(PT_LOAD, PF_RWX, data_at, PAGE_OFFSET, 0, truth.size_bytes, truth.size_bytes, PAGE)
    headers = [encode_core_header("little", EM_PPC64, 0, 2), *map(PROGRAM_HEADER.encode, (notes_header, load_header))]
    pattern, own = truth.pattern.tobytes(), _own_struct_page()
    with path.open("wb") as file:
        file.write(b"".join([*headers, notes]))
        file.truncate(data_at + truth.size_bytes)
        os.pwrite(file.fileno(), truth.kernel.memory, data_at)
        file.seek(data_at + truth.kernel_bytes)
        left = truth.struct_pages * PAGE
        while left:
            left -= file.write(pattern[:left])
        file.seek(data_at + truth.kernel_bytes)
        file.write(own * (truth.own_pages // _PER_PAGE))


def fill_elf(truth: Truth, path: Path, contents: bytes | None = None, distinct_pages: int = 1 << 15) -> None:
    """Put something into each page of a core that isn't the kernel's own; one of eight is zeros.

    ``contents`` are pages that are repeated; else they are made up.
    """
    contents = contents or _contents(distinct_pages)
    pages = np.frombuffer(bytearray(contents[: len(contents) // PAGE * PAGE]), np.uint8).reshape(-1, PAGE)
    pages[::8] = 0
    contents = pages.tobytes()
    with path.open("r+b") as file:
        for at in range(truth.own_pages * PAGE, truth.size_bytes, len(contents)):
            os.pwrite(file.fileno(), memoryview(contents)[: truth.size_bytes - at], MIB + at)


def write_kdump(
    truth: Truth, path: Path, codec: str, distinct_pages: int = 1 << 15, machine: str = "ppc64le"
) -> npt.NDArray[np.int64]:
    """A kdump-compressed file without free pages (dump level 16); the numbers of the pages that it has.

    Users' pages have one of ``distinct_pages`` contents; equal pages are stored once.
    """
    head = Kdump({}, pages=truth.pages, notes=_notes(truth), machine=machine)
    headers = build_kdump(head)
    written = truth.classes() != PageClass.FREE
    stored = np.flatnonzero(written)
    contents = [truth.kernel.memory, truth.pattern.tobytes(), _own_struct_page(), _contents(distinct_pages)]
    firsts = np.cumsum([0, *(len(content) // PAGE for content in contents)])
    source = np.empty(truth.pages, np.int64)
    struct_at = truth.kernel_bytes // PAGE
    user_at = struct_at + truth.struct_pages
    source[:struct_at] = np.arange(struct_at)
    sources = truth.struct_sources()
    source[struct_at:user_at] = np.where(sources < 0, firsts[2], firsts[1] + sources)
    source[user_at:] = firsts[3] + np.arange(truth.pages - user_at) % distinct_pages
    data_at = head.places["descriptors"] + len(stored) * _DESCRIPTOR.itemsize
    descriptors, data = _packed(b"".join(contents), codec, data_at)
    with path.open("wb") as file:
        file.write(headers[: head.places["bitmap"]])
        half_bytes = (head.places["descriptors"] - head.places["bitmap"]) // 2
        for bits in (np.ones(truth.pages, np.bool_), written):
            file.write(np.packbits(bits, bitorder="little").tobytes().ljust(half_bytes, b"\0"))
        file.write(descriptors[source[stored]].tobytes())
        file.write(data)
    return stored


def _packed(contents: bytes, codec: str, data_at: int) -> tuple[Pages, bytes]:
    """A descriptor for each page of ``contents``, and the data that they are about. Pages of zeros are one."""
    flags, compress = CODECS[codec]
    descriptors = np.zeros(len(contents) // PAGE, _DESCRIPTOR)
    known: dict[bytes, tuple[int, int, int, int]] = {}
    data = bytearray()
    for number in range(len(descriptors)):
        page = contents[number * PAGE : (number + 1) * PAGE]
        if page not in known:
            packed = compress(page)
            smaller = len(packed) < PAGE
            known[page] = (data_at + len(data), len(packed) if smaller else PAGE, flags if smaller else 0, 0)
            data += packed if smaller else page
        descriptors[number] = known[page]
    return descriptors, bytes(data)


def _contents(count: int) -> bytes:
    """Pages that differ and get to about a third of their size with each codec: rows of 32 bytes, many twice."""
    rng = np.random.default_rng(2)
    rows = rng.integers(0, 256, (2048, 32), dtype=np.uint8)
    picked = rng.integers(0, 32, (count, PAGE // 32)) + 32 * (np.arange(count) % 64)[:, None]
    return rows[picked].tobytes()


def _pattern(pages: int, seed: int) -> tuple[Pages, Classes]:
    rng = np.random.default_rng(seed)
    found, kinds = np.zeros(pages, _PAGE_TYPE), np.zeros(pages, np.uint8)
    found["mapcount"] = 0xFFFF_FFFF
    pick = rng.integers(0, 5, pages)
    cases = (
        (PageClass.KERNEL, 0, 0, 0xFFFF_FFFF),
        (PageClass.KERNEL, 0, 0, _SLAB),
        (PageClass.CACHE, _LRU, 0xC000_0000_0000_1000, 0),
        (PageClass.CACHE_PRIVATE, _LRU | _PRIVATE, 0xC000_0000_0000_2000, 0),
        (PageClass.USER, _LRU | _SWAPBACKED, 0xC000_0000_0000_3001, 0),
    )
    for number, (kind, flags, mapping, mapcount) in enumerate(cases):
        mask = pick == number
        kinds[mask] = kind
        found["flags"][mask], found["mapping"][mask], found["mapcount"][mask] = flags, mapping, mapcount
    block = rng.integers(0, 5, pages // _BLOCK)  # 0: free, 1: a huge page, others: single pages
    page_of = found.reshape(-1, _BLOCK)
    kind_of = kinds.reshape(-1, _BLOCK)
    empty = np.zeros((), _PAGE_TYPE)
    empty["mapcount"] = 0xFFFF_FFFF
    page_of[block < 2] = empty
    free = np.flatnonzero(block == 0)
    page_of["mapcount"][free, 0], page_of["private"][free, 0] = _BUDDY, 9
    kind_of[free] = PageClass.FREE
    huge = np.flatnonzero(block == 1)
    page_of["flags"][huge, 0] = _LRU | _HEAD | _SWAPBACKED
    page_of["mapping"][huge, 0] = 0xC000_0000_0000_3001
    heads = np.uint64(VMEMMAP_START + 1) + huge.astype(np.uint64) * np.uint64(_BLOCK * STRUCT)
    page_of["head"][huge, 1:] = heads[:, None]
    page_of["flags"][huge, 1] = 9
    kind_of[huge] = PageClass.USER
    return found, kinds


def _own_struct_page() -> bytes:
    pages = np.zeros(_PER_PAGE, _PAGE_TYPE)
    pages["mapcount"] = 0xFFFF_FFFF
    return pages.tobytes()


def _notes(truth: Truth) -> bytes:
    cpus = b"".join(prstatus(registers) for registers in truth.kernel.cpus)
    return cpus + note("VMCOREINFO", 0, truth.kernel.vmcoreinfo())


def describe_pages(kernel: FakeKernel, tables: PageTables, size_bytes: int, section_bits: int = SECTION_BITS) -> None:
    """Have a kernel tell of its struct pages, which stand behind its own memory."""
    pages = size_bytes // PAGE
    kernel.facts |= {"CRASHTIME": "1795468935", "KERNELOFFSET": "0", "SYMBOL(_stext)": f"{PAGE_OFFSET:x}"}
    for start in range(0, pages * STRUCT, tables.page_bytes(2)):
        tables.map(VMEMMAP_START + start, len(kernel.memory) + start, level=2)
    _add_sections(kernel, pages * PAGE >> section_bits, section_bits)
    kernel.state("OFFSET", page__flags=0, page__compound_head=8, page__mapping=24, page__private=40, page___mapcount=48)
    kernel.state("NUMBER", PG_lru=5, PG_private=14, PG_swapcache=10, PG_swapbacked=17, PG_head_mask=_HEAD)
    for name, value in {"BUDDY": _BUDDY, "OFFLINE": _OFFLINE, "HUGETLB": _HUGETLB, "SLAB": _SLAB}.items():
        kernel.state("NUMBER", **{f"PAGE_{name}_MAPCOUNT_VALUE": value})


def add_panic_log(kernel: FakeKernel) -> None:
    """A log of a thousand messages and a panic."""
    lines = [b"message number %d, as long as messages are" % number for number in range(1000)]
    messages = [Message(line, number * 1000) for number, line in enumerate(lines)]
    messages.append(Message(b"Kernel panic - not syncing: sysrq triggered crash", 2_000_000))
    Log(kernel, messages, count_bits=12, text_bits=17)


def functions(count: int) -> dict[str, int]:
    """So many symbols of functions, with the letter of their kind."""
    return {f"Tfunction_number_{number}": PAGE_OFFSET + 0x40 * number for number in range(count)}


def _add_crash(kernel: FakeKernel, symbols: int) -> None:
    add_panic_log(kernel)
    addresses = functions(symbols)
    addresses["Dnr_cpu_ids"] = kernel.place(kernel.pack("I", 1))
    addresses["D__cpu_online_mask"] = kernel.place(kernel.pack("Q", 1))
    addresses["Dcrashing_cpu"] = kernel.place(kernel.pack("i", 0))
    add_kallsyms(kernel, addresses)
    pointer = add_stack(kernel, [PAGE_OFFSET + 0x88, PAGE_OFFSET + 0x188])
    registers = {"nip": PAGE_OFFSET + 4, "gpr1": pointer, "link": PAGE_OFFSET + 0x88}
    kernel.cpus = [dict.fromkeys(REGISTER_NAMES, 0) | registers]


def _add_sections(kernel: FakeKernel, sections: int, section_bits: int) -> None:
    per_root = PAGE // 16
    roots = []
    for first in range(0, sections, per_root):
        root = np.zeros((per_root, 2), "<u8")
        root[: sections - first, 0] = VMEMMAP_START | 3
        roots.append(kernel.place(root.tobytes(), align=PAGE))
    kernel.symbol("mem_section", kernel.place(kernel.pack(f"{len(roots) + 1}Q", *roots, 0)))
    kernel.state("LENGTH", mem_section=len(roots) + 1, zone__free_area=_ORDERS)
    kernel.state("SIZE", mem_section=16, page=STRUCT)
    kernel.state("OFFSET", mem_section__section_mem_map=0)
    kernel.state("NUMBER", SECTION_SIZE_BITS=section_bits, MAX_PHYSMEM_BITS=51)


def add_kallsyms(kernel: FakeKernel, symbols: dict[str, int]) -> None:
    """Each letter is its own token: more to unpack than in a real kernel."""
    packed = b"".join(bytes([len(name)]) + name.encode() for name in symbols)
    tokens = [bytes([number]) if number else b"" for number in range(256)]
    starts = np.cumsum([0, *(len(token) + 1 for token in tokens[:-1])]).tolist()
    kernel.symbol("kallsyms_num_syms", kernel.place(kernel.pack("I", len(symbols))))
    kernel.symbol("kallsyms_names", kernel.place(packed))
    kernel.symbol("kallsyms_token_table", kernel.place(b"\0".join(tokens) + b"\0"))
    kernel.symbol("kallsyms_token_index", kernel.place(kernel.pack("256H", *starts)))
    offsets = np.array(list(symbols.values()), np.uint64) - np.uint64(PAGE_OFFSET)
    kernel.symbol("kallsyms_offsets", kernel.place(offsets.astype("<u4").tobytes()))
    kernel.symbol("kallsyms_relative_base", kernel.place(kernel.pack("Q", PAGE_OFFSET)))
