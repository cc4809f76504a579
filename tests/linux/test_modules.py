import pytest

from fadump.linux.state.module_types import ModuleTypes
from fadump.linux.state.taint import taint_letters, taint_words
from fadump.linux.system import CrashedSystem
from fadump.linux.types.contract import UnknownTypeError
from tests.linux.btf_builder import BtfBuilder
from tests.linux.state_kernel import KALLSYMS, LIST, MODULE_AT, MODULE_TEXT, StateKernel

SYMBOLS = [("first", 0, 1), ("second", 0x1000, 1), (".L1", 0x1100, 1), ("", 0x1200, 1), ("undefined", 0x1300, 0)]
BUILD_ID = bytes(range(20))


def system_of(kernel):
    return CrashedSystem(kernel.dump())


@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize("byte_order", ["little", "big"])
def test_all_that_is_known_of_a_module(byte_order, older):
    kernel = StateKernel((), byte_order, older=older)
    kernel.add_module("loop", state=1)
    kernel.add_module("culprit", taints=0x3000, version=b"1.2\x1b", build_id=BUILD_ID)
    found = system_of(kernel).modules
    loop, culprit = found.modules
    assert (loop.name, loop.address, loop.state, loop.taint) == ("loop", MODULE_AT, "coming", "")
    assert (loop.version, loop.build_id, found.left_out) == (None, None, ())
    assert (culprit.name, culprit.address, culprit.state) == ("culprit", MODULE_AT + 0x10000, "live")
    assert (culprit.taint, culprit.version, culprit.build_id) == ("OE", "1.2\x1b", BUILD_ID.hex())
    assert culprit.size_bytes == (0x5000 if older else 0x5100)


def test_a_list_that_breaks_off_and_a_module_nowhere_are_told():
    kernel = StateKernel()
    for name in ("a", "b", "c"):
        kernel.add_module(name)
    kernel.poke(kernel.modules[0] + LIST, kernel.pack("Q", 0xC000_0100_0000_0000))
    found = system_of(kernel).modules
    assert {module.name for module in found.modules} == {"a", "b", "c"}
    assert any("0x10000000000" in sentence for sentence in found.left_out)


@pytest.mark.parametrize(
    ("offset", "said"),
    [
        (0, "first+0x0/0x1000 [culprit]"),
        (0x10, "first+0x10/0x1000 [culprit]"),
        (0x1234, "second+0x234/0x4000 [culprit]"),
        (0x4FFF, "second+0x3fff/0x4000 [culprit]"),
    ],
)
@pytest.mark.parametrize("byte_order", ["little", "big"])
def test_an_address_in_a_module_has_a_name(byte_order, offset, said):
    kernel = StateKernel((), byte_order)
    kernel.add_module("other", symbols=[("nothing", 0, 1)])
    at = kernel.add_module("culprit", symbols=[entry for entry in SYMBOLS if entry[1] < 0x1100 or not entry[2]])
    assert str(system_of(kernel).symbol(at + offset)) == said


def test_labels_and_symbols_without_a_name_are_passed_over():
    kernel = StateKernel()
    at = kernel.add_module("culprit", symbols=SYMBOLS)
    found = system_of(kernel).symbol(at + 0x1234)
    assert (found.name, found.offset) == ("second", 0x234)


def test_an_address_between_modules_has_no_name():
    kernel = StateKernel()
    at = kernel.add_module("culprit", symbols=SYMBOLS)
    for address in (at + 0x5000, at + MODULE_TEXT, at - 8):
        assert system_of(kernel).symbol(address) is None


@pytest.mark.parametrize("words", [(0xC000_0100_0000_0000, 3), (0xC000_0000_0000_1000, 0xFFFF_FFFF), (8, 1 << 20)])
def test_a_table_that_is_nowhere_or_endless_gives_no_name(words):
    kernel = StateKernel()
    at = kernel.add_module("culprit", symbols=SYMBOLS)
    kernel.poke(kernel.modules[0] + KALLSYMS, kernel.pack("Q", kernel.place(kernel.pack("QIIQ", *words, 0, 8))))
    assert system_of(kernel).symbol(at) is None


def test_a_backtrace_names_a_modules_functions():
    kernel = StateKernel([[{"pid": 1, "stack": (MODULE_AT + 0x1010, MODULE_AT + 0x10)}]])
    kernel.add_module("culprit", symbols=SYMBOLS[:2])
    (group,) = system_of(kernel).stacks
    assert [str(frame.symbol) for frame in group.backtrace.frames][:2] == [
        "second+0x10/0x4000 [culprit]",
        "first+0x10/0x1000 [culprit]",
    ]


def module_btf(kernel, name="culprit_state"):
    base = system_of(kernel).structures
    btf = BtfBuilder("little", first=base.end, first_string=base.strings_end)
    btf.structure(name, 24, [("count", base.find("uint"), 8), ("next", base.find("list_head"), 16)])
    return btf.data()


def test_a_module_has_types_of_its_own_over_the_kernels():
    kernel = StateKernel()
    data = module_btf(kernel)
    kernel.add_module("plain")
    kernel.add_module("culprit", btf=data)
    system = system_of(kernel)
    plain, culprit = system.modules.modules
    types = system.module_types.of(culprit)
    member = types.member(types.named("culprit_state"), "count")
    assert (member.offset, types.resolve(member.ref).name) == (8, "uint")
    assert types.named("task_struct") == system.structures.named("task_struct")
    assert system.module_types.having("culprit_state", system.modules.modules) is types
    assert system.module_types.having("rq", system.modules.modules) is system.structures
    with pytest.raises(UnknownTypeError, match="module plain doesn't describe"):
        system.module_types.of(plain)
    with pytest.raises(UnknownTypeError, match="has a type nonsense"):
        system.module_types.having("nonsense", system.modules.modules)


def test_without_btf_of_the_kernel_there_is_none_of_modules():
    kernel = StateKernel()
    with pytest.raises(UnknownTypeError, match="of the kernel.s BTF end"):
        ModuleTypes(kernel.read(), None, None)


def test_taint_is_told_in_letters_and_words():
    assert taint_letters(0x1200) == "WO" and taint_letters(0) == ""
    assert list(taint_words(0x1200)) == [
        "W: the kernel had warned",
        "O: a module from outside the kernel's tree was loaded",
    ]
    assert taint_letters(1 << 40 | 1) == "P?" and list(taint_words(1 << 40))[-1].startswith("0x10000000000: ")
