"""The smallest file of rules, and the smallest kernel, with the largest claim."""

from collections import Counter

import pytest

from fadump.capture.erase.erased import erase
from fadump.capture.erase.rules import RuleError, read_rules
from fadump.errors import LimitError
from fadump.linux.symbols.table import Symbol, SymbolTable
from fadump.linux.system import CrashedSystem
from fadump.linux.types.btf import Btf
from fadump.linux.types.objects import Objects, PathError
from tests.bounded import bounded
from tests.linux.typed_kernel import TypedKernel, item_types


def rules(tmp_path, text):
    path = tmp_path / "rules.toml"
    path.write_text(text)
    return read_rules(path)


def found(system, rules):
    return [[one.pieces, one.why_not] for one in erase(system, rules)[1]]


# Rules


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('[[erase]]\nstart = "a"\n' * 1001, "there are 1001 rules in it, more than the 1000 that are read"),
        (
            '[[erase]]\nstart = "a"\nwalk = [{ to = "b", where = { '
            + ", ".join(f"a{number} = 1" for number in range(33))
            + " } }]",
            "step 1 of walk: where has more than 32 conditions",
        ),
        (
            f'[[erase]]\nstart = "a"\nwalk = [{{ to = "b", where = {{ c = "{"x" * 1025}" }} }}]',
            "where c has a text of more than 1024 characters",
        ),
    ],
)
def test_rules_are_no_more_than_a_person_writes(tmp_path, text, why):
    with pytest.raises(RuleError, match=why):
        rules(tmp_path, text)


def addresses(objects, names):
    several = 0
    for name in names:
        try:
            objects.symbol_address(name)
        except PathError as error:
            assert str(error) == f"the kernel has 3 symbols called {name}: which of them can't be said"
            several += 1
    return several


def test_a_symbol_is_found_without_looking_at_all_of_them():
    """5000 names among 15,000 symbols, of which a third is there three times."""
    names = [f"name{number}" for number in range(5000)]
    symbols = [Symbol(name, 16 * number, "d") for number, name in enumerate(names)]
    symbols += [Symbol(name, 1 << 20 | 16 * number, "d") for number, name in enumerate(names[::3] * 2)]
    objects = Objects(None, SymbolTable(symbols), lambda: None)
    assert bounded(addresses, objects, names) == 1667


# Objects

ITEMS = 150
AGAIN = '{ to = "link", type = "list_head" }, { list = "item.link" }'


def test_lists_within_lists_are_counted_together(tmp_path, monkeypatch):
    """Each item leads to all the others, and each of these to all of them."""
    monkeypatch.setattr("fadump.linux.types.objects.MOST_OBJECTS", 3_000)
    text = '[[erase]]\nstart = "all_items"\ntype = "list_head"\nsize = 1\noptional = true\n'
    text += f'walk = [{{ list = "item.link", where = {{ id = 1 }} }}, {AGAIN}, {AGAIN}]\n'
    system = CrashedSystem(TypedKernel(count=ITEMS, messages=()).dump())
    [(_pieces, why_not)] = bounded(found, system, rules(tmp_path, text))
    assert why_not == "3,001 objects on the way, more than the 3,000 that are read"


def test_members_on_the_way_are_counted(monkeypatch):
    monkeypatch.setattr("fadump.linux.types.objects.MOST_OBJECTS", 20)
    system = CrashedSystem(TypedKernel().dump())
    objects = Objects(system.memory, system.symbols, lambda: system.types)
    table = objects.variable("item_table", "table")
    for _ in range(20):
        assert objects.one(table, ("slots",)) is not None
    with pytest.raises(LimitError, match="21 objects on the way, more than the 20"):
        objects.one(table, ("slots",))


class CountingTypes(Btf):
    """What is looked for is written down."""

    def __init__(self, data):
        super().__init__(data)
        self.asked = []

    def find(self, name):
        self.asked.append(name)
        return super().find(name)

    def resolve(self, ref):
        self.asked.append(ref)
        return super().resolve(ref)


def test_a_type_is_looked_for_once_however_many_objects_are_of_it(tmp_path):
    """An item's payload is taken for a blob, and its label for a text, for each of 150 items."""
    text = '[[erase]]\nstart = "all_items"\ntype = "list_head"\ndata = "data"\nsize = "length"\n'
    text += 'walk = [{ list = "item.link", where = { label = "none" } }, { to = "payload", type = "blob" }]\n'
    text = text.replace('"none"', '"label-of-7"')
    text += '[[erase]]\nstart = "all_items"\ntype = "list_head"\ndata = "secret[3]"\n'
    text += 'walk = [{ list = "item.link" }, { to = "payload", type = "blob" }, { to = "data[0]", type = "item" }]\n'
    system = CrashedSystem(TypedKernel(count=ITEMS).dump())
    types = CountingTypes(item_types())
    system.types = types
    pieces = [count for count, _why_not in found(system, rules(tmp_path, text))]
    assert pieces == [1, ITEMS]
    times = Counter(types.asked)
    assert {name: times[name] for name in times if times[name] > 3} == {}
