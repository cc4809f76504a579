"""The model kernel's log: on its console, and in memory as the ring buffer that readers of a dump use.

Used in every step of docs/architecture.md that involves a kernel. Linux kernel/printk/printk.c and
printk_ringbuffer.[ch] of 6.12, little-endian; the layouts are those of :mod:`fadump.abi.linux.printk`, and
:meth:`Printk.facts` has VMCOREINFO's lines about them.

    ring         0x00 u32 count_bits, 0x08 descs, 0x10 infos, 0x18 head_id, 0x20 tail_id, 0x28 last_finalized_seq
                 0x30 u32 size_bits, 0x38 data, 0x40 head_lpos, 0x48 tail_lpos
                 0x50 fail
    descriptor   0x00 state_var, 0x08 begin, 0x10 next
    info         0x00 seq, 0x08 ts_nsec, 0x10 u16 text_len, u8 facility, u8 flags and level, 0x14 u32 caller_id,
                 0x18 char subsystem[16], 0x28 char device[48]

The clock is the model's own: it advances by a microsecond with each message, and by the time of each delay. Texts have
a character for each byte; for display they are decoded as UTF-8.
"""

import struct
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from fadump.abi.linux import printk as abi
from fadump.abi.linux.page_table import PAGE_OFFSET

if TYPE_CHECKING:  # guest memory takes numpy, and a plan, which needs this module's levels only, does without
    from fadump.memory.guest import GuestMemory

COUNT_BITS = 12
TEXT_BITS = 17
"""CONFIG_LOG_BUF_SHIFT; there is a descriptor for each 32 bytes of text."""

_RING_BYTES = 0x58
_TEXT_RING_OFFSET = 0x30
_DESCRIPTOR = struct.Struct("<QQQ")
_INFO = struct.Struct("<QQHBBI16s48s")
_ID = struct.Struct("<Q")
_RING = struct.Struct("<I4xQQQQQI4xQQQQ")
_U64 = (1 << 64) - 1
_MESSAGE_NS = 1_000
_MOST_TEXT_BYTES = 1024
_CALLER_IS_SWAPPER = abi.CALLER_IS_CPU


class Level(IntEnum):
    """The levels of syslog(3), as used by pr_emerg() and the like."""

    EMERG = 0
    ERR = 3
    WARN = 4
    NOTICE = 5
    INFO = 6


@dataclass(frozen=True, slots=True)
class _Record:
    id: int
    next: int


Said = tuple[Level, str]
"""A message and its level."""


@dataclass(frozen=True, slots=True)
class Message:
    """A logged message, with its time in nanoseconds since boot."""

    level: Level
    time_ns: int
    text: str

    @property
    def line(self) -> bytes:
        """The line on the console."""
        seconds, fraction = divmod(self.time_ns, 1_000_000_000)
        return f"[{seconds:5d}.{fraction // 1000:06d}] ".encode() + _encode(self.text) + b"\n"


class Printk:
    """One boot's log. ``address`` is where its structures are; ``console`` gets each line with its line feed."""

    def __init__(self, memory: "GuestMemory", address: int, console: Callable[[str], None]) -> None:
        self._memory = memory
        self._console = console
        self._pointer = address
        self._ring = address + 0x100
        self._descriptors = address + 0x1000
        self._infos = self._descriptors + (_DESCRIPTOR.size << COUNT_BITS)
        self._texts = self._infos + (_INFO.size << COUNT_BITS)
        self._live: deque[_Record] = deque()
        self._sequence = 0
        self._head_id = self._tail_id = -(1 << COUNT_BITS) - 1 & abi.DESCRIPTOR_ID_MASK
        self._head_lpos = self._tail_lpos = -(1 << TEXT_BITS) & _U64
        self.uptime_ns = 0
        self._unread: deque[Message] = deque(maxlen=1 << COUNT_BITS)
        self._messages: deque[Message] = deque(maxlen=1 << COUNT_BITS)
        self._cut = b""
        self.last_lines: deque[str] = deque(maxlen=3)
        """The last messages about FADump, for errors that say why something failed."""
        memory.write(address, _ID.pack(PAGE_OFFSET | self._ring))
        last = self._descriptors + _DESCRIPTOR.size * ((1 << COUNT_BITS) - 1)
        memory.write(last, _DESCRIPTOR.pack(self._state(abi.DescriptorState.REUSABLE, self._head_id), 1, 1))
        self._write_ring()

    def say(self, level: Level, text: str) -> None:
        """printk(): log a message, given without its line feed."""
        self.uptime_ns += _MESSAGE_NS
        message = Message(level, self.uptime_ns, text)
        self._console(_shown(message.line))
        self._unread.append(message)
        self._messages.append(message)
        if ("fadump: " in text or "irmware-" in text) and "freeing reserved memory" not in text:
            self.last_lines.append(_shown(_encode(text)))
        self._store(level, _encode(text)[:_MOST_TEXT_BYTES])

    def pr_info(self, text: str) -> None:
        """pr_info()."""
        self.say(Level.INFO, text)

    def pr_notice(self, text: str) -> None:
        """pr_notice()."""
        self.say(Level.NOTICE, text)

    def pr_warn(self, text: str) -> None:
        """pr_warn()."""
        self.say(Level.WARN, text)

    def pr_err(self, text: str) -> None:
        """pr_err()."""
        self.say(Level.ERR, text)

    def pr_emerg(self, text: str) -> None:
        """pr_emerg()."""
        self.say(Level.EMERG, text)

    def delay(self, milliseconds: int) -> None:
        """mdelay(): only this clock advances."""
        self.uptime_ns += milliseconds * 1_000_000

    def dump(self) -> bytes:
        """kmsg_dump_get_buffer(): all lines, as pstore keeps them."""
        return b"".join(f"<{message.level}>".encode() + message.line for message in self._messages)

    def read_unread(self, length: int) -> bytes:
        """/proc/kmsg: at most ``length`` bytes that haven't been read there, empty if there are none."""
        while len(self._cut) < length and self._unread:
            message = self._unread.popleft()
            self._cut += f"<{message.level}>".encode() + message.line
        data, self._cut = self._cut[:length], self._cut[length:]
        return data

    def facts(self) -> Mapping[str, str]:
        """VMCOREINFO's lines about the log: log_buf_vmcoreinfo_setup()."""
        offsets = {
            "printk_ringbuffer.desc_ring": 0, "printk_ringbuffer.text_data_ring": _TEXT_RING_OFFSET,
            "printk_ringbuffer.fail": 0x50,
            "prb_desc_ring.count_bits": 0, "prb_desc_ring.descs": 8, "prb_desc_ring.infos": 16,
            "prb_desc_ring.head_id": 24, "prb_desc_ring.tail_id": 32,
            "prb_desc.state_var": 0, "prb_desc.text_blk_lpos": 8,
            "prb_data_blk_lpos.begin": 0, "prb_data_blk_lpos.next": 8,
            "printk_info.seq": 0, "printk_info.ts_nsec": 8, "printk_info.text_len": 16, "printk_info.caller_id": 20,
            "printk_info.dev_info": 24,
            "dev_printk_info.subsystem": 0, "dev_printk_info.device": 16,
            "prb_data_ring.size_bits": 0, "prb_data_ring.data": 8, "prb_data_ring.head_lpos": 16,
            "prb_data_ring.tail_lpos": 24,
            "atomic_long_t.counter": 0, "latched_seq.val": 8,
        }  # fmt: skip
        sizes = {
            "printk_ringbuffer": _RING_BYTES, "prb_desc_ring": _TEXT_RING_OFFSET, "prb_desc": _DESCRIPTOR.size,
            "prb_data_blk_lpos": 16, "printk_info": _INFO.size, "dev_printk_info": 64, "prb_data_ring": 32,
            "atomic_long_t": 8, "latched_seq": 24,
        }  # fmt: skip
        return {
            "SYMBOL(prb)": f"{PAGE_OFFSET | self._pointer:x}",
            "SYMBOL(printk_rb_static)": f"{PAGE_OFFSET | self._ring:x}",
            **{f"SIZE({name})": str(size) for name, size in sizes.items()},
            **{f"OFFSET({name})": str(offset) for name, offset in offsets.items()},
            "LENGTH(printk_info_subsystem)": "16",
            "LENGTH(printk_info_device)": "48",
        }

    def _store(self, level: Level, text: bytes) -> None:
        block_bytes = abi.BLOCK_ID_BYTES + -(-len(text) // 8) * 8
        begin, size = self._head_lpos, 1 << TEXT_BITS
        next_ = begin + block_bytes & _U64
        data = begin % size
        if next_ >> TEXT_BITS != begin >> TEXT_BITS and next_ % size:  # a block never wraps: it begins at the start
            next_ = (begin >> TEXT_BITS) + 1 << TEXT_BITS
            next_, data = next_ + block_bytes & _U64, 0
        id_ = self._head_id + 1 & abi.DESCRIPTOR_ID_MASK
        self._make_room(id_, next_)
        index = id_ % (1 << COUNT_BITS)
        self._memory.write(self._texts + data, _ID.pack(id_) + text)
        info = _INFO.pack(
            self._sequence,
            self.uptime_ns,
            len(text),
            0,
            abi.LogFlags.NEWLINE | level << 5,
            _CALLER_IS_SWAPPER,
            b"",
            b"",
        )
        self._memory.write(self._infos + index * _INFO.size, info)
        self._write_descriptor(id_, abi.DescriptorState.FINALIZED, begin, next_)
        self._live.append(_Record(id_, next_))
        self._sequence += 1
        self._head_id, self._head_lpos = id_, next_
        self._write_ring()

    def _make_room(self, id_: int, next_: int) -> None:
        """Remove the oldest records until there is room for a descriptor and its text."""
        previous_wrap = id_ - (1 << COUNT_BITS) & abi.DESCRIPTOR_ID_MASK
        if self._tail_id == previous_wrap:
            self._drop_oldest()
        while (next_ - self._tail_lpos & _U64) > 1 << TEXT_BITS and self._live:
            self._drop_oldest()
        if not self._live:  # none of the previous text is needed
            self._tail_lpos = self._head_lpos

    def _drop_oldest(self) -> None:
        if self._live and self._tail_id == self._live[0].id:
            oldest = self._live.popleft()
            self._write_descriptor(oldest.id, abi.DescriptorState.REUSABLE, 1, 1)
            self._tail_lpos = oldest.next
        self._tail_id = self._tail_id + 1 & abi.DESCRIPTOR_ID_MASK

    def _write_descriptor(self, id_: int, state: abi.DescriptorState, begin: int, next_: int) -> None:
        at = self._descriptors + id_ % (1 << COUNT_BITS) * _DESCRIPTOR.size
        self._memory.write(at, _DESCRIPTOR.pack(self._state(state, id_), begin, next_))

    def _state(self, state: abi.DescriptorState, id_: int) -> int:
        return state << abi.DESCRIPTOR_STATE_SHIFT | id_

    def _write_ring(self) -> None:
        ring = _RING.pack(
            COUNT_BITS,
            PAGE_OFFSET | self._descriptors,
            PAGE_OFFSET | self._infos,
            self._head_id,
            self._tail_id,
            self._sequence,
            TEXT_BITS,
            PAGE_OFFSET | self._texts,
            self._head_lpos,
            self._tail_lpos,
            0,
        )
        self._memory.write(self._ring, ring)


def _encode(text: str) -> bytes:
    return text.encode("latin-1", "backslashreplace")


def _shown(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")
