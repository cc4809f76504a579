import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fadump.errors import FadumpError, FormatError
from fadump.linux.vmcoreinfo import Facts, MissingFactError, NoVmcoreinfoError
from tests.vmcore.core_builder import Load, build_core
from tests.vmcore.dump_helpers import open_bytes

TEXT = b"""OSRELEASE=6.12.0
PAGESIZE=65536
SYMBOL(prb)=c000000000aa4f28
OFFSET(page.flags)=8
SIZE(page)=56
LENGTH(node_data)=256
NUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)=-268435456
NUMBER(VMALLOC_START)=0xc008000000000000
a line without a sign
CRASHTIME=1
CRASHTIME=2
"""


def test_each_kind_of_fact_has_its_own_base():
    facts = Facts(TEXT)
    assert facts.text("OSRELEASE") == "6.12.0"
    assert facts.symbol("prb") == 0xC000_0000_00AA_4F28
    assert facts.offset("page.flags") == 8
    assert facts.size("page") == 56
    assert facts.length("node_data") == 256
    assert facts.number("PAGE_BUDDY_MAPCOUNT_VALUE") == -(1 << 28)
    assert facts.number("VMALLOC_START") == 0xC008_0000_0000_0000
    assert facts.page_bytes() == 0x10000


def test_of_two_lines_the_later_counts():
    assert Facts(TEXT).plain_number("CRASHTIME") == 2


def test_a_missing_fact_is_named():
    facts = Facts(TEXT)
    assert "SYMBOL(prb)" in facts and "SYMBOL(log_buf)" not in facts
    with pytest.raises(MissingFactError, match=r"doesn't have SYMBOL\(log_buf\)"):
        facts.symbol("log_buf")


def test_a_dump_without_vmcoreinfo_says_so():
    with open_bytes(build_core([Load(0, b"x")])) as dump, pytest.raises(NoVmcoreinfoError, match="no VMCOREINFO"):
        Facts.of(dump)


@pytest.mark.parametrize(
    ("line", "read"),
    [
        (b"SYMBOL(a)=0xc000", lambda facts: facts.symbol("a")),
        (b"SYMBOL(a)=c0000000000000000", lambda facts: facts.symbol("a")),
        (b"OFFSET(a)=-1", lambda facts: facts.offset("a")),
        (b"SIZE(a)=99999999999", lambda facts: facts.size("a")),
        (b"NUMBER(a)=007", lambda facts: facts.number("a")),
        (b"NUMBER(a)=1_0", lambda facts: facts.number("a")),
        (b"PAGESIZE=65537", lambda facts: facts.page_bytes()),
    ],
)
def test_a_value_that_is_none_is_an_error_with_its_place(line, read):
    with pytest.raises(FormatError) as caught:
        read(Facts(b"OSRELEASE=1\n" + line))
    assert caught.value.offset == 12 + line.index(b"=") + 1


@given(st.binary(max_size=200), st.sampled_from(["symbol", "offset", "size", "length", "number"]))
def test_any_bytes_are_facts_or_an_error(value, kind):
    facts = Facts(kind.upper().encode() + b"(a)=" + value)
    with contextlib.suppress(FadumpError):
        assert getattr(facts, kind)("a") < 1 << 64


def test_a_vmcoreinfo_larger_than_any_is_refused():
    with pytest.raises(FormatError, match="bytes of VMCOREINFO, more than the"):
        Facts(b"a=b\n" * (1 << 19))
