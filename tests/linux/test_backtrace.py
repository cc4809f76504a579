import pytest
from hypothesis import given
from hypothesis import strategies as st

from fadump.linux.cpus.backtrace import follow_stack
from fadump.linux.symbols.table import Symbol, SymbolTable
from tests.linux.kernel_builder import PAGE_OFFSET, FakeKernel, add_stack
from tests.linux.smp_builder import registers

INNER, MIDDLE, OUTER, END = (PAGE_OFFSET + 0x8000 + 0x100 * number for number in range(4))
SYMBOLS = SymbolTable(
    [Symbol(name, address, "T") for name, address in
     {"inner": INNER, "middle": MIDDLE, "outer": OUTER, "end": END}.items()])  # fmt: skip
ORDERS = pytest.mark.parametrize("byte_order", ["little", "big"])


def names(backtrace):
    return [frame.symbol.name if frame.symbol else hex(frame.pc) for frame in backtrace.frames]


@ORDERS
def test_a_stack_is_followed_to_its_end(byte_order):
    kernel = FakeKernel(byte_order)
    pointer = add_stack(kernel, [MIDDLE + 8, OUTER + 8])
    found = follow_stack(kernel.read(), SYMBOLS, registers(nip=INNER + 4, gpr1=pointer))
    assert [str(frame.symbol) for frame in found.frames] == ["inner+0x4/0x100", "middle+0x8/0x100", "outer+0x8/0x100"]
    assert [frame.sp for frame in found.frames] == [pointer, pointer + 0x80, pointer + 0x100]
    assert found.ended is None


def test_an_interrupts_first_instructions_still_have_the_stack_of_user_space():
    vectors = [Symbol("decrementer", INNER, "T"), Symbol("__end_interrupts", MIDDLE, "T"), Symbol("end", END, "T")]
    values = registers(gpr1=0x7FFF_CE63_C920)
    entered = follow_stack(FakeKernel().read(), SymbolTable(vectors), values | {"nip": INNER + 4})
    assert names(entered) == ["decrementer"] and entered.ended is None
    behind = follow_stack(FakeKernel().read(), SymbolTable(vectors), values | {"nip": MIDDLE + 4})
    assert behind.ended is not None and "0x7fffce63c920" in behind.ended


@ORDERS
@pytest.mark.parametrize(
    ("marker_at", "registers_at", "marker"),
    [(0x20, 0x30, 0x5245_4753), (0x20, 0x30, 0x5347_4552), (0x60, 0x70, 0x7265_6773_6865_7265)],
)
def test_an_interrupt_shows_what_it_stopped(byte_order, marker_at, registers_at, marker):
    kernel = FakeKernel(byte_order)
    outer = add_stack(kernel, [OUTER + 8])
    stopped = registers(nip=MIDDLE + 4, gpr1=outer, trap=0x500)
    frame = kernel.pack("QQQ", outer, 0, 0).ljust(marker_at, b"\0") + kernel.pack("Q", marker)
    frame = frame.ljust(registers_at, b"\0") + kernel.pack("44Q", *stopped.values())
    pointer = kernel.place(frame.ljust(0x300, b"\0"))
    found = follow_stack(kernel.read(), SYMBOLS, registers(nip=INNER, gpr1=pointer))
    assert names(found) == ["inner", "middle", "outer"]
    assert [frame.trap for frame in found.frames] == [None, 0x500, None]


def test_the_interrupt_of_the_next_frame_is_not_taken_for_this_ones():
    kernel = FakeKernel()
    outer = add_stack(kernel, [OUTER + 8])
    stopped = registers(nip=END, gpr1=outer, trap=0x500)
    frame = kernel.pack("QQQ8xQ8x", outer, 0, MIDDLE + 8, 0x5245_4753) + kernel.pack("44Q", *stopped.values())
    pointer = kernel.place(bytes(0x40) + frame)
    kernel.poke(pointer, kernel.pack("Q", pointer + 0x40))  # its marker is where an old kernel would have this one's
    found = follow_stack(kernel.read(), SYMBOLS, registers(nip=INNER, gpr1=pointer))
    assert [frame.pc for frame in found.frames] == [INNER, MIDDLE + 8, END, OUTER + 8]


def test_who_calls_what_never_returns_is_named_and_not_who_stands_behind_it():
    kernel = FakeKernel()
    pointer = add_stack(kernel, [MIDDLE])  # the call was inner's last instruction
    found = follow_stack(kernel.read(), SYMBOLS, registers(nip=OUTER, gpr1=pointer))
    assert [str(frame.symbol) for frame in found.frames] == ["outer+0x0/0x100", "inner+0x100/0x100"]


TEXT = SymbolTable([*SYMBOLS, Symbol("_etext", END, "T")])


@pytest.mark.parametrize("of", ["crash", "interrupt"])
def test_who_called_a_function_without_a_frame_is_in_its_lr(of):
    kernel = FakeKernel()
    pointer = add_stack(kernel, [OUTER + 8])
    stopped = registers(nip=INNER + 4, gpr1=pointer, link=MIDDLE + 8, trap=0x500)
    if of == "interrupt":
        frame = kernel.pack("QQQ8xQ8x", pointer, 0, 0, 0x5245_4753) + kernel.pack("44Q", *stopped.values())
        stopped = registers(nip=END - 4, gpr1=kernel.place(frame))
    found = follow_stack(kernel.read(), TEXT, stopped)
    assert [str(frame.symbol) for frame in found.frames if frame.trap is None][-2:] == [
        "middle+0x8/0x100",
        "outer+0x8/0x100",
    ]
    assert found.frames[-2].sp == pointer


def test_who_called_a_function_at_null_is_in_lr():
    kernel = FakeKernel()
    pointer = add_stack(kernel, [OUTER + 8])
    stopped = registers(nip=0, gpr1=pointer, link=MIDDLE + 8, trap=0x400)
    frame = kernel.pack("QQQ8xQ8x", pointer, 0, 0, 0x5245_4753) + kernel.pack("44Q", *stopped.values())
    of_handler = registers(nip=END - 4, gpr1=kernel.place(frame))
    found = follow_stack(kernel.read(), TEXT, of_handler)
    assert names(found)[-3:] == ["0x0", "middle", "outer"]


def test_a_function_that_has_a_frame_and_has_not_saved_its_lr_yet():
    kernel = FakeKernel()
    pointer = add_stack(kernel, [OUTER + 8])  # of an earlier call
    found = follow_stack(kernel.read(), TEXT, registers(nip=INNER + 4, gpr1=pointer, link=OUTER + 0x20))
    assert [str(frame.symbol) for frame in found.frames] == ["inner+0x4/0x100", "outer+0x20/0x100"]


@pytest.mark.parametrize("link", [OUTER + 8, INNER + 0x10, END + 4, 0x1000, 0])
def test_an_lr_that_tells_nothing_new_is_left_alone(link):
    kernel = FakeKernel()
    pointer = add_stack(kernel, [OUTER + 8])
    found = follow_stack(kernel.read(), TEXT, registers(nip=INNER + 4, gpr1=pointer, link=link))
    assert names(found) == ["inner", "outer"]


def test_a_backtrace_ends_in_user_space():
    kernel = FakeKernel()
    stopped = registers(nip=0x1000, gpr1=0x7FFF_0000, trap=0xC00, msr=0x4000)
    frame = kernel.pack("QQQ8xQ8x", 0x7FFF_0000, 0, 0, 0x5245_4753) + kernel.pack("44Q", *stopped.values())
    pointer = kernel.place(frame)
    symbols = SymbolTable([Symbol("__end_soft_masked", 0x900, "T"), *SYMBOLS])  # as a vmlinux has them
    found = follow_stack(kernel.read(), symbols, registers(nip=INNER, gpr1=pointer))
    assert names(found) == ["inner", "0x1000"]
    assert found.ended is None
    assert follow_stack(kernel.read(), SYMBOLS, stopped).frames == ()


REAL_MODE = 0x9000_0000_0000_1002
"""As in OPAL and RTAS: 64 bits, no translation."""


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({}, None),
        ({"nip": INNER}, "no kernel address"),
        ({"msr": REAL_MODE | 0x20}, "no kernel address"),
        ({"msr": REAL_MODE | 0x10}, "no kernel address"),
    ],
)
def test_firmware_has_a_stack_of_its_own_and_the_kernel_none_down_there(changed, says):
    stopped = registers(**{"nip": 0x3008_B7A0, "gpr1": 0x31C1_BB60, "msr": REAL_MODE} | changed)
    found = follow_stack(FakeKernel().read(), SYMBOLS, stopped)
    if says is None:
        assert (found.frames, found.ended) == ((), None)
    else:
        assert says in found.ended


@pytest.mark.parametrize(
    ("caller", "ended"),
    [
        (None, "loop"),
        (0x1000, "no frame of Linux"),
        (PAGE_OFFSET + (1 << 40), "can't be read"),
        ((1 << 64) - 1, "stack whose back chain leads to no frame of Linux at offset"),
    ],
)
def test_a_chain_that_makes_no_sense_ends_with_a_reason(caller, ended):
    kernel = FakeKernel()
    pointer = add_stack(kernel, [MIDDLE + 8, OUTER + 8])
    kernel.poke(pointer + 0x100, kernel.pack("Q", pointer if caller is None else caller))
    found = follow_stack(kernel.read(), SYMBOLS, registers(nip=INNER, gpr1=pointer))
    assert names(found)[:3] == ["inner", "middle", "outer"]
    assert ended in found.ended


def test_a_backtrace_has_a_limit():
    kernel = FakeKernel()
    pointer = add_stack(kernel, [MIDDLE] * 300)
    found = follow_stack(kernel.read(), SYMBOLS, registers(nip=INNER, gpr1=pointer))
    assert len(found.frames) == 256
    assert "256" in found.ended


@given(st.binary(min_size=0x400, max_size=0x400), st.integers(0, 0x3F0), st.integers(0, 0x7F))
def test_any_stack_gives_a_backtrace(data, at, link):
    kernel = FakeKernel(memory_bytes=1 << 13)
    start = kernel.place(data)
    kernel.poke(start + at, kernel.pack("Q", start + 8 * link))
    found = follow_stack(kernel.read(), SYMBOLS, registers(nip=INNER, gpr1=start + at))
    assert 1 <= len(found.frames) <= 256
