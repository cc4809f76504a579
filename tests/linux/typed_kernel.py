"""A kernel that describes its types by BTF, with items on lists and in a tree, each with a secret.

struct item { long id; struct list_head link; struct hlist_node hash; struct rb_node node; struct item *next;
              const char *label; char secret[24]; int length; void *payload; struct kind *kind; };
struct blob { int length; int unused; char data[]; };
struct kind { char *name; };
"""

from fadump.abi.linux.pt_regs import REGISTER_NAMES
from tests.linux.btf_builder import CONST, FWD, BtfBuilder
from tests.linux.kernel_builder import FakeKernel, Log, Message, add_kallsyms

AT = {"id": 0, "link": 8, "hash": 24, "node": 40, "next": 64, "label": 72, "secret": 80, "length": 104}
AT |= {"payload": 112, "kind": 120}
ITEM_BYTES = 128
END = 0xC000_0000_0010_0000


def item_types(byte_order="little"):
    """The types, as BTF."""
    btf = BtfBuilder(byte_order)

    def pointer(name):
        return btf.pointer(btf.add(FWD, name))

    number, integer, char = btf.integer("long", 8), btf.integer("int", 4, signed=True), btf.integer("char", 1)
    text = btf.pointer(btf.alias(CONST, "", char))
    lists = btf.structure("list_head", 16, [("next", pointer("list_head"), 0), ("prev", pointer("list_head"), 8)])
    hashed = btf.structure("hlist_node", 16, [("next", pointer("hlist_node"), 0), ("pprev", number, 8)])
    btf.structure("hlist_head", 8, [("first", pointer("hlist_node"), 0)])
    members = [("color", number, 0), ("rb_right", pointer("rb_node"), 8), ("rb_left", pointer("rb_node"), 16)]
    tree = btf.structure("rb_node", 24, members)
    btf.structure("rb_root", 8, [("rb_node", pointer("rb_node"), 0)])
    btf.structure("blob", 8, [("length", integer, 0), ("unused", integer, 4), ("data", btf.array(char, 0), 8)])
    btf.structure("kind", 8, [("name", text, 0)])
    of = {"id": number, "link": lists, "hash": hashed, "node": tree, "next": pointer("item"), "label": text}
    of |= {"secret": btf.array(char, 24), "length": integer, "payload": btf.pointer(0), "kind": pointer("kind")}
    btf.structure("item", ITEM_BYTES, [(name, of[name], at) for name, at in AT.items()])
    btf.structure("table", 64, [("slots", btf.array(pointer("item"), 4), 0), ("items", btf.array(lists, 2), 32)])
    return btf.data()


class TypedKernel(FakeKernel):
    """``items`` are addresses of items 1 to ``count``; item n's secret is SECRET-n, and its payload PAYLOAD-n.

    Symbols: all_items, a list; hash_items, by hash; tree_items, a tree; first_item, a chain; item_table, an array of
    pointers, of which the last one is NULL; items_label, a string. kind_odd and kind_even are of the items' kinds.
    """

    def __init__(self, count=3, byte_order="little", *, messages=(), btf=True, **more):
        super().__init__(byte_order, **more)
        self.kernel_symbols = {"T_stext": self.place(bytes(16))}
        names = [self.place(name + b"\0") for name in (b"even", b"odd")]
        kinds = [self.place(self.pack("Q", name)) for name in names]
        self.items = [self.place(bytes(ITEM_BYTES)) for _ in range(count)]
        for number, item in enumerate(self.items, start=1):
            label = self.place(b"label-of-%d\0" % number)
            secret = b"SECRET-%d-SECRET-%d" % (number, number)
            data = b"PAYLOAD-%d-PAYLOAD-%d" % (number, number)
            payload = self.place(self.pack("ii", len(data), 0) + data)
            self.poke(item, self.pack("Q", number))
            self.poke(item + AT["label"], self.pack("Q24siiQQ", label, secret, 19, 0, payload, kinds[number % 2]))
        self.symbol_of("kind_even", kinds[0])
        self.symbol_of("kind_odd", kinds[1])
        head = self.symbol_of("all_items", self.place(bytes(16)))
        self.link([head, *(item + AT["link"] for item in self.items)])
        self._chain("hash_items", AT["hash"], last=0)
        self._chain("first_item", AT["next"], last=0, to_start=True)
        self._tree()
        slots = [*self.items[:3], *[0] * (4 - len(self.items[:3]))]
        self.symbol_of("item_table", self.place(self.pack("4Q", *slots) + bytes(32)))
        self.symbol_of("items_label", self.place(self.pack("Q", self.place(b"the label of all items\0"))))
        if messages:
            Log(self, [Message(message) for message in messages])
        if btf:
            data = item_types(byte_order)
            self.btf_at = self.symbol_of("__start_BTF", self.place(data))
            self.symbol_of("__stop_BTF", self.btf_at + len(data))
        self.cpus = [dict.fromkeys(REGISTER_NAMES, 0)]
        self.kernel_symbols["Tend"] = END
        self.symbols_again()

    def symbols_again(self):
        """List the symbols, once more if there are new ones."""
        add_kallsyms(self, dict(sorted(self.kernel_symbols.items(), key=lambda item: item[1])))

    def symbol_of(self, name, virtual):
        """A symbol that the kernel lists."""
        self.kernel_symbols[f"D{name}"] = virtual
        return virtual

    def link(self, nodes):
        """A list of list_heads."""
        for node, next_ in zip(nodes, [*nodes[1:], nodes[0]], strict=True):
            self.poke(node, self.pack("Q", next_))

    def _chain(self, symbol, at, *, last, to_start=False):
        targets = [item if to_start else item + at for item in self.items]
        self.symbol_of(symbol, self.place(self.pack("Q", targets[0])))
        for item, target in zip(self.items, [*targets[1:], last], strict=True):
            self.poke(item + at, self.pack("Q", target))

    def _tree(self):
        """The first item is the root, with the others as its left children in turn, and one right."""
        nodes = [item + AT["node"] for item in self.items]
        self.symbol_of("tree_items", self.place(self.pack("Q", nodes[0])))
        for node, left in zip(nodes, [*nodes[1:-1], 0, 0], strict=False):
            self.poke(node, self.pack("QQQ", 1, 0, left))
        self.poke(nodes[0] + 8, self.pack("Q", nodes[-1]))
