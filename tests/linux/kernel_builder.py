"""Builds the memory of a crashed kernel, structure by structure, and shares no code with what reads it.

Physical memory begins at 0 and is in the linear map. What is placed there is told in VMCOREINFO, as Linux tells it.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fadump.linux.memory import KernelMemory
from fadump.linux.vmcoreinfo import Facts
from tests.vmcore.core_builder import Load, build_core, note, prstatus
from tests.vmcore.dump_helpers import open_bytes

PAGE_OFFSET = 0xC000_0000_0000_0000
VMALLOC_START = 0xC008_0000_0000_0000
VMEMMAP_START = 0xC00C_0000_0000_0000
PRESENT, LEAF = 1 << 63, 1 << 62
ID_MASK = (1 << 62) - 1
INDEX_BITS = {
    ("radix", 0x1000): (13, 9, 9, 9),
    ("radix", 0x10000): (13, 9, 9, 5),
    ("hash", 0x1000): (9, 9, 7, 9),
    ("hash", 0x10000): (8, 10, 10, 8),
}


class FakeKernel:
    """Memory, and what VMCOREINFO says of it."""

    def __init__(self, byte_order="little", page_bytes=0x10000, mmu="radix", memory_bytes=1 << 20):
        self.byte_order = byte_order
        self.order = {"little": "<", "big": ">"}[byte_order]
        self.page_bytes = page_bytes
        self.mmu = mmu
        self.memory = bytearray(memory_bytes)
        self.next = 0x100
        self.placed = []
        self.cpus = []
        self.symbols = {}
        self.facts = {
            "OSRELEASE": "6.12.0-fake",
            "PAGESIZE": str(page_bytes),
            "NUMBER(RADIX_MMU)": str(int(mmu == "radix")),
            "NUMBER(VMALLOC_START)": f"{VMALLOC_START:#x}",
            "SYMBOL(vmemmap)": f"{VMEMMAP_START:x}",
        }

    def pack(self, fields, *values):
        return struct.pack(self.order + fields, *values)

    def place(self, data, align=16):
        """Put some bytes anywhere; where, as a virtual address."""
        physical = -(-self.next // align) * align
        self.next = physical + len(data)
        assert self.next <= len(self.memory), "the fake kernel needs more memory"
        self.memory[physical : self.next] = data
        self.placed.append(range(physical, self.next))
        return PAGE_OFFSET + physical

    def poke(self, virtual, data):
        self.memory[virtual - PAGE_OFFSET : virtual - PAGE_OFFSET + len(data)] = data

    def peek(self, virtual, length):
        return bytes(self.memory[virtual - PAGE_OFFSET : virtual - PAGE_OFFSET + length])

    def symbol(self, name, virtual):
        """A symbol of VMCOREINFO."""
        self.facts[f"SYMBOL({name})"] = f"{virtual:x}"
        return virtual

    def state(self, kind, **values):
        """Facts of one kind: state("OFFSET", page__flags=0)."""
        for name, value in values.items():
            self.facts[f"{kind}({name.replace('__', '.')})"] = str(value)

    def vmcoreinfo(self):
        return "".join(f"{key}={value}\n" for key, value in self.facts.items()).encode()

    def core(self):
        """The dump, an ELF core."""
        notes = b"".join(prstatus(registers, byte_order=self.byte_order) for registers in self.cpus)
        notes += note("VMCOREINFO", 0, self.vmcoreinfo(), self.byte_order)
        return build_core([Load(0, bytes(self.memory))], [notes], byte_order=self.byte_order)

    def dump(self):
        return open_bytes(self.core())

    def read(self):
        """Its memory, as what is tested reads it."""
        dump = self.dump()
        return KernelMemory(dump, Facts.of(dump))


class PageTables:
    """The tables from swapper_pg_dir on. Entries are big-endian, pointers physical."""

    def __init__(self, kernel):
        self.kernel = kernel
        self.bits = INDEX_BITS[kernel.mmu, kernel.page_bytes]
        page_bits = kernel.page_bytes.bit_length() - 1
        self.shifts = [page_bits + sum(self.bits[level + 1 :]) for level in range(4)]
        self.root = kernel.symbol("swapper_pg_dir", self._new_table(0))

    def map(self, virtual, physical, level=3, flags=PRESENT | LEAF | 0xE):
        """Map one page of the size that a leaf at ``level`` has, 0 (PGD) to 3 (PTE)."""
        table = self.root
        for above in range(level):
            at = table + 8 * self._index(virtual, above)
            (entry,) = struct.unpack(">Q", self.kernel.peek(at, 8))
            if not entry:
                entry = (self._new_table(above + 1) - PAGE_OFFSET) | PRESENT | self.bits[above + 1]
                self.poke(at, entry)
            table = PAGE_OFFSET + (entry & 0x3FFF_FFFF_FFFF_FF00)
        self.poke(table + 8 * self._index(virtual, level), physical | flags)

    def poke(self, at, entry):
        self.kernel.poke(at, struct.pack(">Q", entry))

    def page_bytes(self, level):
        return 1 << self.shifts[level]

    def _index(self, virtual, level):
        return virtual >> self.shifts[level] & (1 << self.bits[level]) - 1

    def _new_table(self, level):
        return self.kernel.place(bytes(8 << self.bits[level]), align=0x100)


def add_vmemmap_list(kernel, blocks, shift=16):
    """Hash's list of (virtual, physical) blocks of struct pages."""
    member = 0
    for virtual, physical in blocks:
        member = kernel.place(kernel.pack("QQQ", member, physical, virtual))
    kernel.symbol("vmemmap_list", kernel.place(kernel.pack("Q", member)))
    kernel.symbol("mmu_vmemmap_psize", kernel.place(kernel.pack("I", 1)))
    kernel.symbol("mmu_psize_defs", kernel.place(kernel.pack("II", 12, shift)))
    kernel.state("SIZE", mmu_psize_def=4, vmemmap_backing=24)
    kernel.state("OFFSET", mmu_psize_def__shift=0, vmemmap_backing__list=0)
    kernel.state("OFFSET", vmemmap_backing__phys=8, vmemmap_backing__virt_addr=16)


@dataclass(frozen=True)
class Message:
    text: bytes
    ns: int = 0
    level: int = 6
    facility: int = 0
    caller: int = 1
    flags: int = 2
    subsystem: bytes = b""
    device: bytes = b""


def flags_byte(kernel, message):
    if kernel.byte_order == "little":
        return message.flags | message.level << 5
    return message.flags << 3 | message.level


class Log:
    """A printk ring buffer, written as Linux writes it: descriptors and texts are used again when they run out."""

    DESC = struct.calcsize("QQQ")
    INFO = 88

    def __init__(self, kernel, messages, count_bits=4, text_bits=10, first_id=0, fills_ring=False):
        self.kernel, self.count_bits, self.text_bits = kernel, count_bits, text_bits
        self.descs = kernel.place(bytes(self.DESC << count_bits))
        self.infos = kernel.place(bytes(self.INFO << count_bits))
        self.ring = kernel.place(bytes(88))
        kernel.symbol("prb", kernel.place(kernel.pack("Q", self.ring)))
        self.texts = kernel.place(bytes(1 << text_bits))  # behind all the rest: a dump may end in them
        self.lpos = 0
        self.fills_ring = fills_ring  # newer kernels let a block end where the ring ends
        self.blocks = []
        self.first_id = first_id
        self.head = self.tail = first_id
        for sequence, message in enumerate(messages):
            self._write(sequence, message)
        ring = kernel.pack("I4xQQQQQ", count_bits, self.descs, self.infos, self.head & ID_MASK, self.tail & ID_MASK, 0)
        kernel.poke(self.ring, ring + kernel.pack("I4xQQQQ", text_bits, self.texts, self.lpos, 0, 0))
        self._state()

    def descriptor(self, id_):
        return self.descs + id_ % (1 << self.count_bits) * self.DESC

    def _write(self, sequence, message):
        kernel, id_ = self.kernel, self.first_id + sequence
        size = 8 + -(-len(message.text) // 8) * 8
        begin = self.lpos
        end = begin % (1 << self.text_bits) + size
        wraps = end > (1 << self.text_bits) - (not self.fills_ring)
        start = (begin >> self.text_bits) + 1 << self.text_bits if wraps else begin
        self.lpos = start + size
        for old, old_begin in list(self.blocks):
            if old_begin < self.lpos - (1 << self.text_bits):
                self._forget(old)
        while sequence >= 1 << self.count_bits and self.tail <= id_ - (1 << self.count_bits):
            self._forget(self.tail)
        at = start % (1 << self.text_bits)
        kernel.poke(self.texts + at, kernel.pack("Q", id_ & ID_MASK) + message.text)
        kernel.poke(self.descriptor(id_), kernel.pack("QQQ", 2 << 62 | id_ & ID_MASK, begin, self.lpos))
        info = kernel.pack("QQHBBI", sequence, message.ns, len(message.text), message.facility, 0, message.caller)
        info = info[:19] + bytes([flags_byte(kernel, message)]) + info[20:]
        info += message.subsystem.ljust(16, b"\0") + message.device.ljust(48, b"\0")
        kernel.poke(self.infos + id_ % (1 << self.count_bits) * self.INFO, info)
        self.blocks.append((id_, begin))
        self.head = id_

    def _forget(self, id_):
        self.kernel.poke(self.descriptor(id_), self.kernel.pack("Q", 3 << 62 | id_ & ID_MASK))
        self.blocks = [block for block in self.blocks if block[0] != id_]
        self.tail = max(self.tail, id_ + 1)

    def _state(self):
        kernel = self.kernel
        kernel.state("OFFSET", printk_ringbuffer__desc_ring=0, printk_ringbuffer__text_data_ring=48)
        kernel.state("OFFSET", prb_desc_ring__count_bits=0, prb_desc_ring__descs=8, prb_desc_ring__infos=16)
        kernel.state("OFFSET", prb_desc_ring__head_id=24, prb_desc_ring__tail_id=32, atomic_long_t__counter=0)
        kernel.state("OFFSET", prb_desc__state_var=0, prb_desc__text_blk_lpos=8)
        kernel.state("OFFSET", prb_data_blk_lpos__begin=0, prb_data_blk_lpos__next=8)
        kernel.state("OFFSET", prb_data_ring__size_bits=0, prb_data_ring__data=8)
        kernel.state("OFFSET", printk_info__seq=0, printk_info__ts_nsec=8, printk_info__text_len=16)
        kernel.state("OFFSET", printk_info__caller_id=20, printk_info__dev_info=24)
        kernel.state("OFFSET", dev_printk_info__subsystem=0, dev_printk_info__device=16)
        kernel.state("SIZE", prb_desc=self.DESC, printk_info=self.INFO)
        kernel.state("LENGTH", printk_info_subsystem=16, printk_info_device=48)


def add_old_log(kernel, messages, buffer_bytes=512, struct_name="printk_log", *, with_caller=False):
    """The records before the ring buffer; when the buffer is full, the oldest go. The messages that are left."""
    header_bytes = 20 if with_caller else 16
    records, at, left = bytearray(buffer_bytes), 0, []
    for message in messages:
        names = (("SUBSYSTEM", message.subsystem), ("DEVICE", message.device))
        dictionary = b"\0".join(b"%s=%s" % (key.encode(), value) for key, value in names if value)
        size = -(-(header_bytes + len(message.text) + len(dictionary)) // 8) * 8
        if at + size + header_bytes > buffer_bytes:
            records[at : at + header_bytes] = bytes(header_bytes)
            left = [(start, old) for start, old in left if start < at]
            at = 0
        # Linux keeps room for a header behind the newest
        left = [(start, old) for start, old in left if not at <= start <= at + size + header_bytes]
        lengths = size, len(message.text), len(dictionary)
        header = kernel.pack("QHHHBB", message.ns, *lengths, message.facility, flags_byte(kernel, message))
        header += kernel.pack("I", message.caller) if with_caller else b""
        records[at : at + size] = (header + message.text + dictionary).ljust(size, b"\0")
        left.append((at, message))
        at += size
    kernel.symbol("log_buf", kernel.place(kernel.pack("Q", kernel.place(bytes(records)))))
    kernel.symbol("log_buf_len", kernel.place(kernel.pack("I", buffer_bytes)))
    kernel.symbol("log_first_idx", kernel.place(kernel.pack("I", left[0][0] if left else at)))
    kernel.symbol("log_next_idx", kernel.place(kernel.pack("I", at)))
    kernel.facts[f"SIZE({struct_name})"] = str(header_bytes)
    for member, offset in {"ts_nsec": 0, "len": 8, "text_len": 10, "dict_len": 12}.items():
        kernel.facts[f"OFFSET({struct_name}.{member})"] = str(offset)
    return [message for _start, message in left]


def add_flat_log(kernel, text, buffer_bytes=256, *, wrapped=False, cleared=False):
    """The log before v3.5: the last of ``text`` in a ring. ``wrapped``: log_end has gone past 32 bits; ``cleared``:
    dmesg -c has reset logged_chars."""
    ring = bytearray(buffer_bytes)
    for at, char in enumerate(text):
        ring[at % buffer_bytes] = char
    kernel.symbol("log_buf", kernel.place(kernel.pack("Q", kernel.place(bytes(ring)))))
    kernel.symbol("log_buf_len", kernel.place(kernel.pack("I", buffer_bytes)))
    end = len(text) % buffer_bytes if wrapped else len(text)
    kernel.symbol("log_end", kernel.place(kernel.pack("I", end)))
    chars = 0 if cleared else min(len(text), buffer_bytes)
    kernel.symbol("logged_chars", kernel.place(kernel.pack("I", chars)))


def add_kallsyms(kernel, symbols: Mapping[str, int], kind="relative"):
    """kallsyms with these names, each with its kind's letter in front, and virtual addresses."""
    tokens = [bytes([number]) if 0x21 <= number < 0x7F else b"" for number in range(256)]
    tokens[1], tokens[2] = b"init_", b"task"  # two tokens that stand for more than one letter
    index, table = [], b""
    for token in tokens:
        index.append(len(table))
        table += token + b"\0"
    packed = b""
    for name in symbols:
        name_bytes = name.encode().replace(b"init_", b"\1").replace(b"task", b"\2")
        length = len(name_bytes)
        packed += bytes([length]) if length < 0x80 else bytes([length & 0x7F | 0x80, length >> 7])
        packed += name_bytes
    kernel.symbol("kallsyms_num_syms", kernel.place(kernel.pack("I", len(symbols))))
    kernel.symbol("kallsyms_names", kernel.place(packed))
    kernel.symbol("kallsyms_token_table", kernel.place(table))
    kernel.symbol("kallsyms_token_index", kernel.place(kernel.pack("256H", *index)))
    if kind == "relative":
        base = min(symbols.values())
        offsets = [address - base for address in symbols.values()]
        kernel.symbol("kallsyms_offsets", kernel.place(kernel.pack(f"{len(offsets)}I", *offsets)))
        kernel.symbol("kallsyms_relative_base", kernel.place(kernel.pack("Q", base)))
    elif kind == "absolute":
        kernel.symbol("kallsyms_addresses", kernel.place(kernel.pack(f"{len(symbols)}Q", *symbols.values())))
    else:
        start = kernel.place(bytes(4 * len(symbols)))
        offsets = [address - start - 4 * number for number, address in enumerate(symbols.values())]
        kernel.poke(start, kernel.pack(f"{len(offsets)}i", *offsets))
        kernel.symbol("kallsyms_offsets", start)


def add_stack(kernel, return_addresses: Sequence[int], frame_bytes=0x80):
    """A stack of plain frames, the innermost first; its r1. The outermost frame has no caller."""
    stack = kernel.place(bytes(frame_bytes * (len(return_addresses) + 1)))
    for number, address in enumerate([0, *return_addresses]):
        frame = stack + number * frame_bytes
        caller = frame + frame_bytes if number < len(return_addresses) else 0
        kernel.poke(frame, kernel.pack("QQQ", caller, 0, address))
    return stack
