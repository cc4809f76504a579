"""Members, elements, lists and trees of a kernel's objects."""

import pytest

from fadump.errors import FadumpError, FormatError
from fadump.linux.memory import KernelMemory
from fadump.linux.system import CrashedSystem
from fadump.linux.types.contract import UnknownTypeError
from fadump.linux.types.objects import Every, Objects, PathError, parse_path
from tests.linux.typed_kernel import AT, TypedKernel

AT_BLOB = 0xC000_0000_0010_0000


def objects_of(kernel):
    system = CrashedSystem(kernel.dump())
    return Objects(system.memory, system.symbols, lambda: system.types)


def ids(objects, found):
    return [objects.number(objects.one(item, ("id",))) for item in found]


@pytest.mark.parametrize("byte_order", ["little", "big"])
def test_every_way_leads_to_all_items(byte_order):
    objects = objects_of(TypedKernel(byte_order=byte_order))
    head = objects.variable("all_items", "list_head")
    assert ids(objects, objects.on_list(head, "item", ("link",))) == [1, 2, 3]
    head = objects.variable("hash_items", "hlist_head")
    assert ids(objects, objects.on_list(head, "item", ("hash",))) == [1, 2, 3]
    root = objects.variable("tree_items", "rb_root")
    assert sorted(ids(objects, objects.in_tree(root, "item", ("node",)))) == [1, 2, 3]
    first = objects.variable("first_item", "item*")
    assert ids(objects, objects.chained(first, ("next",))) == [1, 2, 3]
    table = objects.variable("item_table", "table")
    slots = list(objects.follow(table, ("slots", Every.EVERY, "id")))
    assert [objects.number(slot) for slot in slots] == [1, 2, 3]


def test_a_path_follows_pointers_and_ends_at_null():
    objects = objects_of(TypedKernel())
    first = objects.variable("first_item", "item*")
    assert objects.number(objects.one(first, parse_path("next.next.id"))) == 3
    assert objects.one(first, parse_path("next.next.next.id")) is None
    name = objects.one(first, parse_path("kind.name"))
    assert name is not None and objects.memory.string(objects.number(name), 9) == b"odd"
    third = objects.one(objects.variable("items_label", "char*"), parse_path("x[2]")[1:])
    assert third is not None and objects.memory.read(third.address, 5) == b"e lab"


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("mm.owner", ("mm", "owner")),
        ("slots[3]", ("slots", 3)),
        ("a[*].b[0][1]", ("a", Every.EVERY, "b", 0, 1)),
    ],
)
def test_paths(path, parts):
    assert parse_path(path) == parts


@pytest.mark.parametrize(
    "path", ["a..b", ".a", "[0]", "a[", "a[-1]", "a b", "a[0]b", "a->b", "a.", "0a", "a[**]", "a" + ".a" * 64]
)
def test_what_is_no_path(path):
    with pytest.raises(PathError, match="is no path"):
        parse_path(path)


@pytest.mark.parametrize(
    ("change", "way", "why"),
    [
        ("link back to the second", "list", "comes back to .* and not to its start"),
        ("link NULL", "list", "breaks off: it has a NULL pointer"),
        ("link anywhere", "list", "can't be"),
        ("tree twice", "tree", "twice"),
        ("tree odd", "tree", "odd address"),
        ("chain back to the second", "chain", "comes back to .* and not to its start"),
    ],
)
def test_damaged_lists_end(change, way, why):
    kernel = TypedKernel()
    second, third = kernel.items[1:]
    words = {
        "link back to the second": (third + AT["link"], second + AT["link"]),
        "link NULL": (second + AT["link"], 0),
        "link anywhere": (second + AT["link"], 0xC000_1234_5678_0000),
        "tree twice": (third + AT["node"] + 16, second + AT["node"]),
        "tree odd": (third + AT["node"] + 16, second + AT["node"] + 1),
        "chain back to the second": (third + AT["next"], second),
    }
    at, word = words[change]
    kernel.poke(at, kernel.pack("Q", word))
    objects = objects_of(kernel)
    found = {
        "list": lambda: objects.on_list(objects.variable("all_items", "list_head"), "item", ("link",)),
        "tree": lambda: objects.in_tree(objects.variable("tree_items", "rb_root"), "item", ("node",)),
        "chain": lambda: objects.chained(objects.variable("first_item", "item*"), ("next",)),
    }[way]()
    with pytest.raises(FadumpError, match=why):
        list(found)


def test_a_chain_may_be_a_ring():
    kernel = TypedKernel()
    kernel.poke(kernel.items[-1] + AT["next"], kernel.pack("Q", kernel.items[0]))
    objects = objects_of(kernel)
    assert ids(objects, objects.chained(objects.variable("first_item", "item*"), ("next",))) == [1, 2, 3]


def test_an_endless_list_costs_no_more_than_its_budget(monkeypatch):
    monkeypatch.setattr("fadump.linux.types.objects.MOST_OBJECTS", 20)
    objects = objects_of(TypedKernel(count=30))
    with pytest.raises(FormatError, match="21 objects on the way, more than the 20"):
        list(objects.on_list(objects.variable("all_items", "list_head"), "item", ("link",)))


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("id.x", "there is no member x in a number long"),
        ("idd", "no member idd: did you mean id"),
        ("id[0]", "a number long has no elements"),
        ("secret[*].x", "no member x in a number char"),
        ("secret.x", "no member x in an array"),
        ("secret[24]", "no element 24 in an array of 24"),
    ],
)
def test_a_path_that_does_not_fit(path, why):
    objects = objects_of(TypedKernel())
    with pytest.raises(FadumpError, match=why):
        list(objects.follow(objects.variable("first_item", "item*"), parse_path(path)))


def test_the_last_element_and_any_of_an_array_without_a_length():
    objects = objects_of(TypedKernel())
    first = objects.variable("first_item", "item*")
    secret = objects.one(first, ("secret",))
    last = objects.one(first, ("secret", 23))
    assert secret is not None and last is not None and last.address == secret.address + 23
    data = objects.one(objects.at(AT_BLOB, "blob"), ("data", 30))
    assert data is not None and data.address == AT_BLOB + 8 + 30


def test_a_count_of_an_arrays_elements():
    objects = objects_of(TypedKernel())
    slots = objects.one(objects.variable("item_table", "table"), ("slots",))
    assert slots is not None
    assert [objects.number(objects.one(slot, ("id",))) for slot in objects.array(slots, 3)] == [1, 2, 3]
    with pytest.raises(PathError, match="no element 4 in an array of 4"):
        list(objects.array(slots, 5))


def test_a_kernel_without_types_says_so():
    objects = objects_of(TypedKernel(btf=False))
    with pytest.raises(UnknownTypeError, match="it has no BTF; give a vmlinux"):
        objects.variable("all_items", "list_head")
    assert objects.variable("all_items", "void").type.size_bytes == 0
    with pytest.raises(UnknownTypeError, match="its BTF doesn't say what type all_items has: say type"):
        objects_of(TypedKernel()).variable("all_items")


def test_a_node_below_its_members_offset_is_an_error_of_memory():
    kernel = TypedKernel()
    kernel.poke(kernel.items[1] + AT["link"], kernel.pack("Q", 4))
    objects = objects_of(kernel)
    with pytest.raises(FadumpError, match="can't be translated"):
        ids(objects, objects.on_list(objects.variable("all_items", "list_head"), "item", ("link",)))
    assert isinstance(objects.memory, KernelMemory)
