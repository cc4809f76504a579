import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fadump.errors import FadumpError, FormatError
from fadump.linux.dwarf import NoDebugInformationError, read_offsets
from fadump.linux.elf import ElfFile
from fadump.linux.kallsyms import read_kallsyms
from fadump.linux.symbols import Symbol, SymbolTable
from fadump.linux.tasks import Task, UnknownMemberError, read_tasks, running_task
from tests.linux.dwarf_builder import debug_file
from tests.linux.kernel_builder import PAGE_OFFSET, FakeKernel
from tests.linux.smp_builder import SmpKernel

MEMBERS = {
    "pid": 8,
    "tgid": 12,
    "__state": 16,
    "exit_state": 20,
    "tasks": 24,
    "thread_node": 40,
    "signal": 56,
    "comm": 64,
}
OFFSETS = {f"task_struct.{name}": at for name, at in MEMBERS.items()} | {
    "signal_struct.thread_head": 8,
    "paca_struct.__current": 24,
}
TASK_BYTES = 80


def add_tasks(kernel, processes):
    """Lists of processes, each a list of threads (pid, state, exit_state, name); init_task is before them."""
    addresses = [[kernel.place(bytes(TASK_BYTES)) for _thread in threads] for threads in processes]
    signals = [kernel.place(bytes(24)) for _threads in processes]
    first = kernel.place(bytes(TASK_BYTES))
    leaders = [first, *(threads[0] for threads in addresses)]
    _link(kernel, [leader + MEMBERS["tasks"] for leader in leaders])
    for threads, signal, values in zip(addresses, signals, processes, strict=True):
        _link(kernel, [signal + 8, *(thread + MEMBERS["thread_node"] for thread in threads)])
        for address, (pid, state, exit_state, name) in zip(threads, values, strict=True):
            kernel.poke(address + 8, kernel.pack("IIII", pid, values[0][0], state, exit_state))
            kernel.poke(address + 56, kernel.pack("Q", signal) + name)
    return first


def _link(kernel, nodes):
    for node, next_ in zip(nodes, [*nodes[1:], nodes[0]], strict=True):
        kernel.poke(node, kernel.pack("Q", next_))


def tasks(kernel, first, offsets=OFFSETS):
    table = SymbolTable([Symbol("init_task", first, "D"), Symbol("end", first + TASK_BYTES, "D")])
    return read_tasks(kernel.read(), table, offsets)


PROCESSES = [[(1, 1, 0, b"init")], [(7, 0, 0, b"sixteen letters!"), (8, 0x402, 0, b"worker")], [(9, 0, 0x20, b"gone")]]


@pytest.mark.parametrize("byte_order", ["little", "big"])
def test_every_thread_of_every_process(byte_order):
    kernel = FakeKernel(byte_order)
    found = tasks(kernel, add_tasks(kernel, PROCESSES))
    assert [(task.pid, task.process, task.state, task.name) for task in found] == [
        (1, 1, "S", "init"),
        (7, 7, "R", "sixteen letters!"),
        (8, 7, "I", "worker"),
        (9, 9, "Z", "gone"),
    ]
    assert all(task.address >= PAGE_OFFSET for task in found)


@pytest.mark.parametrize("byte_order", ["little", "big"])
def test_what_runs_on_a_cpu_is_in_its_paca(byte_order):
    kernel = SmpKernel(0, owners=[], byte_order=byte_order)
    add_tasks(kernel, PROCESSES)
    idle = kernel.place(kernel.pack("QIIII", 0, 0, 0, 0, 0).ljust(MEMBERS["comm"], b"\0") + b"swapper/3\0".ljust(16))
    kernel.poke(kernel.pacas[3] + OFFSETS["paca_struct.__current"], kernel.pack("Q", idle))
    memory = kernel.read()
    symbols = read_kallsyms(memory)
    found = running_task(memory, symbols, OFFSETS, 3)
    assert (found.pid, found.name, found.state, found.address) == (0, "swapper/3", "R", idle)
    with pytest.raises(FadumpError):
        running_task(memory, symbols, OFFSETS, 4)  # nothing is at address 0
    with pytest.raises(UnknownMemberError, match=r"paca_struct\.__current"):
        running_task(memory, symbols, {}, 3)


def test_a_kernel_before_the_state_got_its_underscores():
    kernel = FakeKernel()
    first = add_tasks(kernel, [[(1, 2, 0, b"init")]])
    older = {("task_struct.state" if name == "task_struct.__state" else name): at for name, at in OFFSETS.items()}
    (task,) = tasks(kernel, first, older)
    assert isinstance(task, Task) and task.state == "D"


def test_a_member_that_is_not_known_is_named():
    kernel = FakeKernel()
    first = add_tasks(kernel, PROCESSES)
    with pytest.raises(UnknownMemberError, match=r"task_struct\.tasks"):
        tasks(kernel, first, {name: at for name, at in OFFSETS.items() if name != "task_struct.tasks"})


def test_a_list_that_does_not_come_back_is_an_error():
    kernel = FakeKernel()
    first = add_tasks(kernel, PROCESSES)
    node = int.from_bytes(kernel.peek(first + MEMBERS["tasks"], 8), "little")
    kernel.poke(node, kernel.pack("Q", node))
    with pytest.raises(FormatError, match="doesn't come back"):
        tasks(kernel, first)


STRUCTS = {"task_struct": {"pid": 8, "comm": 0x1234}, "signal_struct": {"thread_head": 0x10}}
EXPECTED = {"task_struct.pid": 8, "task_struct.comm": 0x1234, "signal_struct.thread_head": 0x10}


@pytest.fixture
def offsets_of(tmp_path):
    def read(data, structs=frozenset(STRUCTS)):
        path = tmp_path / "vmlinux"
        path.write_bytes(data)
        with path.open("rb") as file:
            return read_offsets(ElfFile(file), structs)

    return read


@pytest.mark.parametrize("byte_order", ["little", "big"])
@pytest.mark.parametrize("version", [4, 5])
def test_members_are_found_in_debug_information(offsets_of, byte_order, version):
    assert offsets_of(debug_file(STRUCTS, version, byte_order)) == EXPECTED


def test_structs_may_be_in_more_than_one_file(offsets_of):
    first, second = ({name: STRUCTS[name]} for name in STRUCTS)
    assert offsets_of(debug_file(first, 4, more=second)) == EXPECTED


def test_a_struct_that_is_only_declared_is_none(offsets_of):
    with pytest.raises(NoDebugInformationError, match="mm_struct"):
        offsets_of(debug_file(STRUCTS, 4, declared=("mm_struct",)), frozenset({"task_struct", "mm_struct"}))


def test_a_file_without_debug_information(offsets_of):
    with pytest.raises(NoDebugInformationError, match="no debug information"):
        offsets_of(debug_file(None, 4))


@pytest.mark.parametrize("version", [1, 6])
def test_dwarf_of_another_version(offsets_of, version):
    with pytest.raises(FormatError, match="another version"):
        offsets_of(debug_file(STRUCTS, version))


@pytest.mark.parametrize("version", [2, 3])
def test_an_assembler_files_units_are_passed_over(offsets_of, version):
    """Linux up to 5.11 has had them made with -gdwarf-2, whatever the rest was made with."""
    with pytest.raises(NoDebugInformationError):
        offsets_of(debug_file(STRUCTS, version))
    assert offsets_of(debug_file(STRUCTS, 4, before=version)) == offsets_of(debug_file(STRUCTS, 4))


@given(st.data())
def test_damaged_debug_information_gives_offsets_or_an_error(tmp_path_factory, data):
    image = bytearray(debug_file(STRUCTS, data.draw(st.sampled_from([4, 5]))))
    for _ in range(data.draw(st.integers(1, 4))):
        image[data.draw(st.integers(0, len(image) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "debug"
    path.write_bytes(image)
    with contextlib.suppress(FadumpError), path.open("rb") as file:
        read_offsets(ElfFile(file), frozenset(STRUCTS))


def test_a_compressed_section_says_so(offsets_of):
    image = bytearray(debug_file(STRUCTS, 4))
    (table,) = struct.unpack_from("<Q", image, 0x28)
    for header in range(table, len(image), 64):
        image[header + 8 : header + 16] = (0x800).to_bytes(8, "little")
    with pytest.raises(FormatError, match="compressed"):
        offsets_of(bytes(image))
