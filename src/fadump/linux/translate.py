"""Translating the crashed kernel's virtual addresses to physical ones, on ppc64 with radix or hash.

After the last step of "follow one crash" in docs/architecture.md. A virtual address is in one of three areas:

* the linear map, which includes the kernel's text and data: PAGE_OFFSET plus the physical address;
* vmemmap_list, on hash: a list of the blocks that struct pages are in (arch/powerpc/mm/init_64.c);
* Linux's own page tables from swapper_pg_dir on, for everything else. Their layout is in
  :mod:`fadump.abi.linux.page_table`.

VMCOREINFO and memory decide which one applies. Nothing in memory is trusted: a walk descends at most four levels, and
the numbers of tables and of list members are limited.
"""

import struct
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice, pairwise

import numpy as np
import numpy.typing as npt

from fadump.abi.layout import STRUCT_ORDER, ByteOrder
from fadump.abi.linux import page_table as abi
from fadump.errors import FadumpError
from fadump.limits import MOST_MAPPED_PAGES, MOST_PAGE_TABLES, MOST_VMEMMAP_BLOCKS
from fadump.linux.vmcoreinfo import Facts
from fadump.memory.ranges import Range

ReadPhysical = Callable[[int, int], bytes]
Addresses = npt.NDArray[np.uint64]

_BLOCK_SHIFTS = range(12, 35)


class TranslationError(FadumpError, LookupError):
    """The address ``virtual`` can't be translated; ``why`` says what is wrong."""

    def __init__(self, virtual: int, why: str) -> None:
        self.virtual = virtual
        super().__init__(f"virtual address {virtual:#x} can't be translated: {why}")


@dataclass(frozen=True, slots=True)
class Mapped:
    """Virtual addresses that are contiguous in physical memory, which begins at ``physical``."""

    virtual: Range
    physical: int

    def part(self, wanted: Range) -> "Mapped":
        """The part of it at ``wanted`` addresses."""
        return Mapped(wanted, self.physical + wanted.start - self.virtual.start)


class Translation:
    """Translates kernel addresses of one dump."""

    def __init__(self, read_physical: ReadPhysical, facts: Facts, byte_order: ByteOrder) -> None:
        """``read_physical`` reads memory by physical address, as a dump's does; ``byte_order`` is the kernel's."""
        self._read = read_physical
        self._facts = facts
        self._byte_order = byte_order

    @cached_property
    def linear(self) -> Range:
        """The virtual addresses of the linear map.

        :raises AddressError: hash or radix matters, and the dump lacks the memory that shows which it is.
        """
        facts = self._facts
        others = [facts.number("VMALLOC_START")] if "NUMBER(VMALLOC_START)" in facts else []
        others += [facts.symbol("vmemmap")] if "SYMBOL(vmemmap)" in facts else []
        if not others and facts.values.get("PAGESIZE") == "4096" and not self.is_radix:
            others = [abi.HASH_4K_LINEAR_END]
        ends = [address for address in others if abi.PAGE_OFFSET < address < abi.LINEAR_END]
        return Range(abi.PAGE_OFFSET, min(ends, default=abi.LINEAR_END))

    @cached_property
    def is_radix(self) -> bool:
        """Whether the kernel ran with the radix MMU.

        :raises MissingFactError: VMCOREINFO isn't enough to know that; and as :meth:`physical`.
        """
        facts = self._facts
        if "NUMBER(RADIX_MMU)" in facts:
            return bool(facts.number("RADIX_MMU"))
        if "SYMBOL(cur_cpu_spec)" in facts:
            cpu_spec = self._word(facts.symbol("cur_cpu_spec"))
            return bool(self._word(cpu_spec + facts.offset("cpu_spec.mmu_features")) & abi.MMU_FTR_TYPE_RADIX)
        # only radix has the linear map in page tables, from the first entry on
        (first,) = self._unpack("Q", facts.symbol("swapper_pg_dir"))
        return first != 0

    def physical(self, virtual: int) -> int:
        """The physical address of a virtual one.

        :raises TranslationError: it isn't mapped.
        :raises AddressError: the dump lacks the page tables, or the list, that say where it is.
        :raises MissingFactError: VMCOREINFO doesn't say where these are.
        """
        if virtual in self.linear:
            return virtual - abi.PAGE_OFFSET
        return self.mapped(Range.sized(virtual, 1))[0].physical

    def mapped(self, wanted: Range) -> list[Mapped]:
        """Where all of ``wanted`` is, in the order of addresses; pieces contiguous in both memories are merged.

        :raises TranslationError: some of it isn't mapped; and as :meth:`physical`.
        """
        return covering(self.mapped_within(wanted), wanted)

    def mapped_within(self, wanted: Range) -> list[Mapped]:
        """The same for those addresses of ``wanted`` that are mapped."""
        if self.linear.contains(wanted):
            return [Mapped(wanted, wanted.start - abi.PAGE_OFFSET)] if wanted else []
        blocks = _joined(_parts_within(self._blocks, wanted))
        if blocks:
            return blocks
        if wanted.start < abi.PAGE_OFFSET or wanted.end > 1 << 64:
            raise TranslationError(wanted.start, "it is no kernel address")
        walk = _Walk(self._read, self._index_bits, self._facts.page_bytes(), wanted)
        return walk.mapped(_linear_physical(self._facts.symbol("swapper_pg_dir")))

    @cached_property
    def _index_bits(self) -> tuple[int, int, int, int]:
        geometry = abi.RADIX_INDEX_BITS if self.is_radix else abi.HASH_INDEX_BITS
        page_bytes = self._facts.page_bytes()
        if page_bytes not in geometry:
            root = self._facts.symbol("swapper_pg_dir")
            raise TranslationError(root, f"no page tables have pages of {page_bytes:#x}")
        return geometry[page_bytes]

    @cached_property
    def _blocks(self) -> list[Mapped]:
        """The members of vmemmap_list by address; none if there is no list, or it is empty, as with radix."""
        facts = self._facts
        if "SYMBOL(vmemmap_list)" not in facts:
            return []
        member = self._word(facts.symbol("vmemmap_list"))
        if not member:
            return []
        size_bytes = self._block_bytes()
        at = [facts.offset(f"vmemmap_backing.{name}") for name in ("list", "phys", "virt_addr")]
        blocks: dict[int, Mapped] = {}
        seen: set[int] = set()
        while member:
            if member in seen or len(seen) == MOST_VMEMMAP_BLOCKS:
                raise TranslationError(member, "vmemmap_list is a loop, or longer than any")
            seen.add(member)
            member, physical, virtual = (self._word(member + offset) for offset in at)
            if virtual % size_bytes or virtual + size_bytes > 1 << 64:
                raise TranslationError(virtual, "vmemmap_list has a block that isn't at a multiple of its size")
            blocks[virtual] = Mapped(Range.sized(virtual, size_bytes), physical)
        return [blocks[virtual] for virtual in sorted(blocks)]

    def _block_bytes(self) -> int:
        facts = self._facts
        (index,) = self._unpack("I", facts.symbol("mmu_vmemmap_psize"))
        definition = facts.symbol("mmu_psize_defs") + index * facts.size("mmu_psize_def")
        (shift,) = self._unpack("I", definition + facts.offset("mmu_psize_def.shift"))
        if shift not in _BLOCK_SHIFTS:
            raise TranslationError(definition, f"mmu_psize_defs has pages of 2^{shift} bytes for vmemmap")
        return 1 << shift

    def _word(self, virtual: int) -> int:
        (word,) = self._unpack("Q", virtual)
        return word

    def _unpack(self, fields: str, virtual: int) -> tuple[int, ...]:
        """Read fields in the linear map; its end isn't checked."""
        layout = struct.Struct(STRUCT_ORDER[self._byte_order] + fields)
        return layout.unpack(self._read(_linear_physical(virtual), layout.size))


def _linear_physical(virtual: int) -> int:
    """The physical address of something in the linear map. The end isn't checked, as finding it takes such reads."""
    if not abi.PAGE_OFFSET <= virtual < abi.LINEAR_END:
        raise TranslationError(virtual, "it should be in the linear map")
    return virtual - abi.PAGE_OFFSET


class _Walk:
    """One walk through the page tables, for all of ``wanted``."""

    def __init__(self, read: ReadPhysical, index_bits: tuple[int, ...], page_bytes: int, wanted: Range) -> None:
        self._read = read
        self._index_bits = index_bits
        below = [sum(index_bits[level + 1 :]) for level in range(len(index_bits))]
        self._shifts = [bits + page_bytes.bit_length() - 1 for bits in below]
        self._wanted = wanted
        self._tables = self._pages = 0
        self._leaves: list[tuple[Addresses, Addresses, Addresses]] = []
        """First virtual address, last one, physical address."""

    def mapped(self, root: int) -> list[Mapped]:
        """What the tables from physical ``root`` on map, by address; pieces contiguous in both memories are merged."""
        self._table(root, 0, self._wanted)
        if not self._leaves:
            return []
        firsts, lasts, physical = (np.concatenate(column) for column in zip(*self._leaves, strict=True))
        order = np.argsort(firsts)
        firsts, lasts, physical = firsts[order], lasts[order], physical[order]
        together = (lasts[:-1] + np.uint64(1) == firsts[1:]) & (
            physical[1:] - physical[:-1] == firsts[1:] - firsts[:-1]
        )
        starts = np.concatenate([[0], np.flatnonzero(~together) + 1])
        ends = np.concatenate([starts[1:], [len(firsts)]]) - 1
        pieces = [
            Mapped(Range(int(firsts[start]), int(lasts[end]) + 1), int(physical[start]))
            for start, end in zip(starts, ends, strict=True)
        ]
        inside = ((piece, piece.virtual.intersection(self._wanted)) for piece in pieces)
        return [piece.part(both) for piece, both in inside if both is not None]

    def _table(self, table: int, level: int, wanted: Range) -> None:
        self._tables += 1
        if self._tables > MOST_PAGE_TABLES:
            raise TranslationError(wanted.start, f"it takes more than {MOST_PAGE_TABLES} page tables")
        shift = self._shifts[level]
        first, last = wanted.start >> shift, wanted.end - 1 >> shift
        index = first & (1 << self._index_bits[level]) - 1
        count = min(last - first + 1, (1 << self._index_bits[level]) - index)
        raw = self._read(table + index * abi.ENTRY_BYTES, count * abi.ENTRY_BYTES)
        entries = np.frombuffer(raw, dtype=">u8").astype(np.uint64)
        is_leaf = entries & np.uint64(abi.LEAF) != 0
        if level == len(self._shifts) - 1:
            is_leaf[:] = True
        self._keep(np.flatnonzero(is_leaf & (entries & np.uint64(abi.PRESENT) != 0)), entries, first, shift)
        for position in np.flatnonzero(~is_leaf & (entries != 0)).tolist():
            here = Range.sized(first + position << shift, 1 << shift).intersection(wanted)
            if here is not None:
                self._table(int(entries[position]) & abi.POINTER_ADDRESS, level + 1, here)

    def _keep(self, positions: npt.NDArray[np.intp], entries: Addresses, first: int, shift: int) -> None:
        self._pages += len(positions)
        if self._pages > MOST_MAPPED_PAGES:
            raise TranslationError(self._wanted.start, f"it takes more than {MOST_MAPPED_PAGES} pages")
        if not len(positions):
            return
        firsts = np.uint64(first) + positions.astype(np.uint64) << np.uint64(shift)
        address = np.uint64(abi.LEAF_ADDRESS & -(1 << shift))
        self._leaves.append((firsts, firsts + np.uint64((1 << shift) - 1), entries[positions] & address))


def covering(pieces: Sequence[Mapped], wanted: Range) -> list[Mapped]:
    """The parts of rising ``pieces`` that contain all of ``wanted``.

    :raises TranslationError: some of it isn't.
    """
    found = _parts_within(pieces, wanted)
    at = wanted.start
    for piece in found:
        if piece.virtual.start != at:
            break
        at = piece.virtual.end
    if at != wanted.end:
        raise TranslationError(at, "it isn't mapped")
    return found


def _parts_within(pieces: Sequence[Mapped], wanted: Range) -> list[Mapped]:
    first = max(0, bisect_right(pieces, wanted.start, key=_start) - 1)
    found: list[Mapped] = []
    for piece in islice(pieces, first, None):
        if piece.virtual.start >= wanted.end:
            break
        both = piece.virtual.intersection(wanted)
        if both is not None:
            found.append(piece.part(both))
    return found


def _start(piece: Mapped) -> int:
    return piece.virtual.start


def _joined(pieces: list[Mapped]) -> list[Mapped]:
    """The same pieces; those that are contiguous in both memories are merged."""
    if not pieces:
        return []
    starts = [0]
    starts += [
        index + 1
        for index, (one, two) in enumerate(pairwise(pieces))
        if one.virtual.end != two.virtual.start or one.physical + one.virtual.size_bytes != two.physical
    ]
    return [
        Mapped(Range(pieces[start].virtual.start, pieces[end - 1].virtual.end), pieces[start].physical)
        for start, end in zip(starts, [*starts[1:], len(pieces)], strict=True)
    ]
