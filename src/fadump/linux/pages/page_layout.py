"""Where the members of struct page are that tell what a page was used for, in the kernels of every age.

After the last step of "follow one crash" in docs/architecture.md. Linux: include/linux/mm_types.h. VMCOREINFO has the
offsets, but for those of a compound page before Linux 4.6: they are then in the words of page.lru, of which the second
page of a compound page has had three forms.

    before v4.4   lru.next: the destructor's address     lru.prev: the order
    v4.4, v4.5    lru.next: compound_head, with bit 0    lru.prev: destructor and order, both u32
    since         all of them are stated
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from fadump.abi.layout import STRUCT_ORDER, ByteOrder
from fadump.abi.linux import page as abi
from fadump.errors import FormatError
from fadump.linux.vmcoreinfo import Facts

Words = npt.NDArray[Any]

_NUMBER_BYTES = (1, 2, 4)
"""The sizes of a stated order: u8 since v4.16, before that a u32."""


def page_layout(
    facts: Facts, byte_order: ByteOrder, page_bytes: int, *, types_in_top_byte: bool, has_types: bool
) -> "np.dtype[np.void]":
    """The members of struct page that are tested; of wide ones only the bytes that matter.

    "order" and "dtor" are those of a compound page's second page, as are "next" and "previous", the words of its lru.

    :raises MissingFactError: VMCOREINFO doesn't state one that every kernel has.
    :raises FormatError: one isn't within a struct page.
    """
    order = STRUCT_ORDER[byte_order]

    def part(member: str, member_bytes: int, wanted_bytes: int, *, skipped: int = 0) -> tuple[str, int]:
        """The ``wanted_bytes`` bytes of a number that are above its ``skipped`` lowest ones."""
        before = member_bytes - wanted_bytes - skipped if byte_order == "big" else skipped
        return f"{order}u{wanted_bytes}", facts.offset(member) + before

    members = {
        "flags": part("page.flags", 8, 4),
        "mapping": part("page.mapping", 8, 1),
        "compound_head": part(_head_member(facts), 8, 1),
    }
    if has_types:
        members["_mapcount"] = (
            part("page._mapcount", 4, 1, skipped=3) if types_in_top_byte else part("page._mapcount", 4, 4)
        )
    if "OFFSET(page.private)" in facts:
        members["private"] = part("page.private", 8, 8)
    members |= _second_page(facts, order, page_bytes)
    formats = [format_ for format_, _offset in members.values()]
    offsets = [offset for _format, offset in members.values()]
    for name, (format_, offset) in members.items():
        if not 0 <= offset <= page_bytes - np.dtype(format_).itemsize:
            raise FormatError(f"VMCOREINFO has {name} at byte {offset} of a struct page, which has {page_bytes}")
    return np.dtype({"names": list(members), "formats": formats, "offsets": offsets, "itemsize": page_bytes})


def _second_page(facts: Facts, order: str, page_bytes: int) -> dict[str, tuple[str, int]]:
    """Formats and offsets of what only the second page of a compound page has."""
    members = {}
    if "SYMBOL(free_huge_page)" in facts:
        for name, member in {"next": "next", "previous": "prev"}.items():
            members[name] = (f"{order}u8", facts.offset("page.lru") + facts.offset(f"list_head.{member}"))
    number_bytes = _number_bytes(facts)
    for name in ("order", "dtor"):
        if f"OFFSET(page.compound_{name})" in facts:
            members[name] = (f"{order}u{number_bytes}", facts.offset(f"page.compound_{name}"))
        elif f"OFFSET(folio._folio_{name})" in facts:  # its offset counts from the first page
            members[name] = ("u1", facts.offset(f"folio._folio_{name}") - page_bytes)
    return members


def _head_member(facts: Facts) -> str:
    """The word whose bit 0 marks the tail of a compound page.

    It is called compound_info in the newest kernels. Before v4.6 it isn't stated, but shares the word of lru.next, in
    which bit 0 is never set for another reason, as lru.next and the destructor's address are those of aligned things.
    """
    for name in ("page.compound_info", "page.compound_head"):
        if f"OFFSET({name})" in facts:
            return name
    return "page.lru"


def _number_bytes(facts: Facts) -> int:
    """The size of compound_order and compound_dtor, which are neighbours."""
    keys = [f"page.compound_{name}" for name in ("dtor", "order")]
    if not all(f"OFFSET({key})" in facts for key in keys):
        return 1
    distance = facts.offset(keys[1]) - facts.offset(keys[0])
    return distance if distance in _NUMBER_BYTES else 1


@dataclass(frozen=True, slots=True)
class SecondPage:
    """What the second page of a compound page says about all of it, from the ``layout`` of :func:`page_layout`.

    ``hugetlb_dtor`` is the destructor of hugetlb's pages, a number or an address, by whichever is known.
    """

    order_in_flags: bool
    has_order: bool
    has_dtor: bool
    has_list: bool
    hugetlb_dtor: int | None

    @classmethod
    def stated(cls, facts: Facts, *, order_in_flags: bool) -> Self:
        """As VMCOREINFO has it."""
        has_list = "SYMBOL(free_huge_page)" in facts  # until v4.6
        if "NUMBER(HUGETLB_PAGE_DTOR)" in facts:
            dtor: int | None = facts.number("HUGETLB_PAGE_DTOR")
        else:
            dtor = facts.symbol("free_huge_page") if has_list else None
        has_order, has_dtor = (
            f"OFFSET(page.compound_{name})" in facts or f"OFFSET(folio._folio_{name})" in facts
            for name in ("order", "dtor")
        )
        return cls(order_in_flags, has_order, has_dtor, has_list, dtor)

    def orders(self, pages: Words, seconds: Words) -> Words:
        """The orders, for compound pages of 2^order pages, as the pages numbered ``seconds`` have them."""
        if self.order_in_flags:
            return np.asarray(pages["flags"][seconds] & abi.FOLIO_ORDER)
        if self.has_order:
            return np.asarray(pages["order"][seconds])
        if self.has_list:
            is_old = pages["next"][seconds] & np.uint64(abi.COMPOUND_TAIL) == 0
            return np.where(is_old, pages["previous"][seconds], 0)
        return np.zeros(len(seconds), np.uint64)

    def are_hugetlb(self, pages: Words, seconds: Words) -> Words:
        """Which of them are hugetlb's, by the destructor."""
        if self.hugetlb_dtor is None:
            return np.zeros(len(seconds), np.bool_)
        if self.has_dtor:
            return np.asarray(pages["dtor"][seconds] == self.hugetlb_dtor)
        if self.has_list:
            return np.asarray(pages["next"][seconds] == np.uint64(self.hugetlb_dtor & (1 << 64) - 1))
        return np.zeros(len(seconds), np.bool_)
