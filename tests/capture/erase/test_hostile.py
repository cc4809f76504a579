"""Rules on a kernel whose memory is anything: what can't be followed is an error of ours, within budgets."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fadump.capture.erase.erased import erase
from fadump.capture.erase.rules import read_rules
from fadump.errors import FadumpError
from fadump.linux.system import CrashedSystem
from tests.linux.kernel_builder import PAGE_OFFSET
from tests.linux.typed_kernel import AT, ITEM_BYTES, TypedKernel

RULES = """
[[erase]]
start = "all_items"
type = "list_head"
walk = [{ list = "item.link", where = { "kind.name" = "odd" } }, { to = "payload", type = "blob", count = "length" }]
data = "data"
size = "length"
optional = true

[[erase]]
start = "tree_items"
type = "rb_root"
walk = [{ tree = "item.node" }]
data = "label"
optional = true

[[erase]]
start = "first_item"
type = "item*"
walk = [{ next = "next" }]
data = "secret"
size = "length"
optional = true
"""


@pytest.fixture(scope="module")
def rules(tmp_path_factory):
    path = tmp_path_factory.mktemp("rules") / "rules.toml"
    path.write_text(RULES)
    return read_rules(path)


@pytest.fixture(scope="module")
def kernel():
    return TypedKernel()


WORDS = st.sampled_from([0, 1, (1 << 64) - 1, 1 << 63, PAGE_OFFSET, PAGE_OFFSET + (1 << 20) - 4]) | st.integers(
    0, (1 << 64) - 1
)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, ITEM_BYTES - 8), WORDS), max_size=4), st.integers(0, 2))
def test_items_that_are_anything(rules, kernel, changes, target):
    before = bytes(kernel.memory)
    try:
        for number, at, word in changes:
            kernel.poke(kernel.items[number] + at, kernel.pack("Q", word))
        kernel.poke(kernel.items[target] + AT["next"], kernel.pack("Q", kernel.items[target]))
        dump = kernel.dump()
        with contextlib.suppress(FadumpError):
            system, erased = erase(CrashedSystem(dump), rules)
            memory = system.dump.read_physical(0, len(kernel.memory))
            assert len(memory) == len(kernel.memory) and len(erased) == len(rules)
    finally:
        kernel.memory[:] = before


@pytest.mark.parametrize(
    ("limit", "why"),
    [
        ("fadump.capture.erase.pieces.MOST_ERASED_PIECES", "pieces to erase, more than the 2"),
        ("fadump.capture.erase.pieces.MOST_ERASED_BYTES", "bytes to erase, more than the 2"),
        ("fadump.linux.types.objects.MOST_OBJECTS", "objects on the way, more than the 2"),
    ],
)
def test_each_budget_ends_a_rule_in_a_sentence(rules, kernel, monkeypatch, limit, why):
    monkeypatch.setattr(limit, 2)
    _system, erased = erase(CrashedSystem(kernel.dump()), rules)
    assert any(why in (one.why_not or "") for one in erased)
