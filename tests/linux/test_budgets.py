"""The smallest input with the largest claim, for each table and list of a crashed kernel and of its vmlinux."""

import struct

import pytest

from fadump.errors import LimitError
from fadump.linux.cpus import cpu
from fadump.linux.cpus.cpu import read_cpus
from fadump.linux.log import reader
from fadump.linux.log.reader import read_log
from fadump.linux.memory import KernelMemory
from fadump.linux.symbols.kallsyms import read_kallsyms
from fadump.linux.symbols.table import Symbol, SymbolTable
from fadump.linux.vmcoreinfo import Facts
from fadump.linux.vmlinux import dwarf
from fadump.linux.vmlinux.dwarf import read_offsets
from fadump.linux.vmlinux.elf import ElfFile
from fadump.linux.vmlinux.symbols import read_vmlinux
from tests.bounded import MIB, bounded
from tests.linux.kernel_builder import PAGE_OFFSET, FakeKernel, Log, Message, add_old_log, add_stack
from tests.vmcore.core_builder import Load, Section, build_core, build_sections, note
from tests.vmcore.dump_helpers import open_bytes

EMPTY = Section(0, b"")
NO_FACTS = Facts(b"")


def sentence(function, *arguments):
    """The sentence of the LimitError that a reader ends with; None: it doesn't."""
    try:
        function(*arguments)
    except LimitError as error:
        return str(error)
    return None


# The kernel's own list of symbols


def kernel_with_names(count, packed, token):
    """Symbols that all have the same packed name, each byte of which stands for ``token``."""
    kernel = FakeKernel(memory_bytes=4 * MIB)
    kernel.symbol("kallsyms_num_syms", kernel.place(kernel.pack("I", count)))
    length = len(packed)
    head = bytes([length]) if length < 0x80 else bytes([length & 0x7F | 0x80, length >> 7])
    kernel.symbol("kallsyms_names", kernel.place((head + packed) * count))
    kernel.symbol("kallsyms_token_table", kernel.place(token + b"\0"))
    kernel.symbol("kallsyms_token_index", kernel.place(bytes(512)))
    kernel.symbol("kallsyms_offsets", kernel.place(bytes(4 * count)))
    kernel.symbol("kallsyms_relative_base", kernel.place(kernel.pack("Q", PAGE_OFFSET)))
    return kernel


def read_core_symbols(core):
    dump = open_bytes(core)
    return sentence(read_kallsyms, KernelMemory(dump, Facts.of(dump)))


def test_names_that_unpack_to_gigabytes_are_refused():
    """40,000 names of two bytes each, which would be 610 MiB."""
    core = kernel_with_names(40_000, b"a", b"A" * 16_000).core()
    assert "bytes in the names of symbols, more than the 134,217,728" in bounded(read_core_symbols, core)


def test_one_name_that_unpacks_to_a_gigabyte_is_refused():
    core = kernel_with_names(1, b"a" * 0x3FFF, b"A" * 60_000).core()
    assert bounded(read_core_symbols, core, most_bytes=64 * MIB).startswith("982,980,000 bytes in the name of symbol 0")


def test_symbols_at_one_address_are_found_without_a_search():
    table = SymbolTable([Symbol(f"name{number}", 0x1000, "T") for number in range(10_000)] + [Symbol("z", 0x2000, "T")])
    assert bounded(names_at, table, most_steps=20_000) == ["name0"]


def names_at(table):
    return sorted({table.symbol(address).name for address in range(0x1000, 0x1400)})


# A vmlinux


def vmlinux(names, symbols):
    return build_sections([EMPTY, Section(3, names), Section(2, symbols, link=1)], names_section=0)


def read_file_symbols(path):
    return sentence(read_vmlinux, path, NO_FACTS)


def test_names_without_an_end_are_cut(tmp_path):
    """Each of 40,000 symbols, of 24 bytes, names the same string of 8 MiB."""
    symbols = struct.pack("<IBBHQQ", 1, 0x12, 0, 1, PAGE_OFFSET, 0) * 40_000
    path = tmp_path / "vmlinux"
    path.write_bytes(vmlinux(b"\0" + b"n" * (8 << 20), symbols))
    assert "bytes in the names of the vmlinux's symbols, more than" in bounded(read_file_symbols, path)


def test_more_symbols_than_any_kernel_has_are_refused(tmp_path):
    path = tmp_path / "vmlinux"
    path.write_bytes(vmlinux(b"\0n\0", bytes(24 * ((1 << 21) + 1))))
    assert "2,097,153 symbols in the vmlinux" in bounded(read_file_symbols, path, most_steps=1000)


def share_bytes(data, sections):
    """All sections of a file that build_sections() has made, over the bytes of the last one."""
    (at,) = struct.unpack_from("<Q", data, 0x28)
    rows = bytearray(data[at:])
    for number in range(1, sections):
        rows[64 * number + 24 : 64 * number + 40] = rows[-40:-24]
    return data[:at] + bytes(rows)


def test_notes_that_share_bytes_are_read_within_a_budget(tmp_path):
    notes = (struct.pack("<III", 0, 500, 1) + bytes(500)) * 500
    data = build_sections([EMPTY, *[Section(7, b"")] * 5000, Section(7, notes)], names_section=0)
    path = tmp_path / "vmlinux"
    path.write_bytes(share_bytes(data, 5001))
    assert "bytes of notes in the vmlinux" in bounded(read_file_symbols, path, most_steps=200_000)


# Debug information


def debug_file(abbreviations, entries, strings=b"\0", units=1):
    blocks = {"": b"", ".shstrtab": b"", ".debug_abbrev": abbreviations, ".debug_str": strings}
    body = struct.pack("<HIB", 4, 0, 8) + entries
    blocks[".debug_info"] = (struct.pack("<I", len(body)) + body) * units
    names = b"".join(name.encode() + b"\0" for name in blocks)
    blocks[".shstrtab"] = names
    sections = [
        Section(int(name != ""), block, name_offset=names.index(name.encode() + b"\0"))
        for name, block in blocks.items()
    ]
    return build_sections(sections, names_section=1)


def walk(path):
    with path.open("rb") as file:
        try:
            read_offsets(ElfFile(file), frozenset({"task_struct"}))
        except (LookupError, ValueError) as error:
            return str(error)
    return None


@pytest.mark.parametrize("attributes", [b"\x3f\x19" * 5000, b"\x38\x21\x05" * 5000], ids=["flags", "constants"])
def test_attributes_without_bytes_are_read_once(tmp_path, attributes):
    """5000 entries of one byte, whose abbreviation has 5000 attributes that take no bytes."""
    path = tmp_path / "vmlinux"
    path.write_bytes(debug_file(b"\1\x24\0" + attributes + b"\0\0\0", b"\1" * 5000))
    assert "doesn't have struct task_struct" in bounded(walk, path)


def test_addresses_without_bytes_are_refused(tmp_path):
    data = debug_file(b"\1\x24\0" + b"\x11\x01" * 5000 + b"\0\0\0", b"\1" * 5000)
    path = tmp_path / "vmlinux"
    path.write_bytes(data.replace(struct.pack("<HIB", 4, 0, 8), struct.pack("<HIB", 4, 0, 0)))
    assert walk(path).startswith("DWARF with addresses of unknown size")


def test_strings_without_an_end_are_cut(tmp_path):
    """2000 names, all of them one string of 8 MiB."""
    strings = b"s" * (8 << 20) + b"\0"
    path = tmp_path / "vmlinux"
    path.write_bytes(debug_file(b"\1\x13\1\x03\x0e\0\0\0", (b"\1" + bytes(4)) * 2000, strings))
    assert "doesn't have struct task_struct" in bounded(walk, path, most_bytes=64 * MIB)


def test_a_table_of_abbreviations_is_read_once(tmp_path):
    path = tmp_path / "vmlinux"
    path.write_bytes(debug_file(b"\1\x24\0\0\0" * 2000 + b"\0", b"\1", units=64))
    assert "doesn't have struct task_struct" in bounded(walk, path, most_steps=200_000)


def test_more_abbreviations_than_any_kernel_has_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(dwarf, "MOST_ABBREVIATIONS", 1000)
    path = tmp_path / "vmlinux"
    path.write_bytes(debug_file(b"\1\x24\0" + b"\x0b\x0b" * 1000 + b"\0\0\0", b"\1"))
    assert "1,001 abbreviations in the vmlinux's debug information" in walk(path)


# Processors


def kernel_with_stacks(processors, frames):
    kernel = FakeKernel()
    pointer = add_stack(kernel, [PAGE_OFFSET + 0x8000] * frames)
    kernel.cpus = [{"nip": PAGE_OFFSET, "gpr1": pointer}] * processors
    return kernel


def test_frames_of_all_stacks_are_counted_together(monkeypatch):
    monkeypatch.setattr(cpu, "MOST_FRAMES", 100)
    found = read_cpus(kernel_with_stacks(20, 30).read(), None)
    assert [len(cpu.backtrace.frames) for cpu in found] == [31, 31, 31, 7, *[0] * 16]
    assert found[2].backtrace.ended is None
    assert found[3].backtrace.ended == "101 frames of all stacks, more than the 100 that are read"


def test_more_processors_than_any_machine_has_are_refused(monkeypatch):
    monkeypatch.setattr(cpu, "MOST_CPUS", 4)
    assert len(read_cpus(kernel_with_stacks(4, 1).read(), None)) == 4
    with pytest.raises(LimitError, match="5 notes with a processor's registers, more than the 4 that are read"):
        read_cpus(kernel_with_stacks(5, 1).read(), None)


# The log


def records_of(kernel):
    """The texts of the records, and the sentence of the LimitError at their end."""
    texts = []
    try:
        texts.extend(record.text for record in read_log(kernel.read()))
    except LimitError as error:
        texts.append(str(error))
    return texts


def read_ring(core):
    dump = open_bytes(core)
    return sentence(list, read_log(KernelMemory(dump, Facts.of(dump))))


def test_descriptors_in_memory_of_zeros_cost_nothing():
    """A ring of 2^26 descriptors, which would be 1.5 GiB, in memory that takes no room in the file."""
    kernel = FakeKernel()
    ring = Log(kernel, [])
    zeros = 1 << 36
    fields = kernel.pack("I4xQQQQQ", 26, PAGE_OFFSET + zeros, PAGE_OFFSET + zeros, (1 << 26) - 1, 0, 0)
    kernel.poke(ring.ring, fields)
    notes = [note("VMCOREINFO", 0, kernel.vmcoreinfo())]
    core = build_core([Load(0, bytes(kernel.memory)), Load(zeros, b"", memory_bytes=1 << 33)], notes)
    found = bounded(read_ring, core, most_bytes=64 * MIB)
    assert found == "67,108,864 records of the log, more than the 2,097,152 that are read"


MESSAGES = [Message(b"message %02d" % number) for number in range(40)]


@pytest.mark.parametrize(
    "write", [lambda kernel: Log(kernel, MESSAGES, 6, 11), lambda k: add_old_log(k, MESSAGES, 2048)]
)
def test_the_text_of_a_log_is_limited(write, monkeypatch):
    monkeypatch.setattr(reader, "MOST_LOG_BYTES", 100)
    kernel = FakeKernel()
    write(kernel)
    assert records_of(kernel) == [
        *(message.text.decode() for message in MESSAGES[:10]),
        "110 characters of the log, more than the 100 that are read",
    ]


def test_of_too_many_records_the_newest_are_read(monkeypatch):
    monkeypatch.setattr(reader, "MOST_LOG_RECORDS", 10)
    kernel = FakeKernel()
    Log(kernel, MESSAGES, 6, 11)
    assert records_of(kernel) == [
        *(message.text.decode() for message in MESSAGES[30:]),
        "40 records of the log, more than the 10 that are read",
    ]
