"""The crashed kernel's log.

After the last step of "follow one crash" in docs/architecture.md. Linux: kernel/printk/printk_ringbuffer.c since
commit 896fbe20b4e2 ("printk: use the lockless ringbuffer") (in v5.10); :mod:`fadump.linux.log.old_log` has the two
forms before that. VMCOREINFO shows which of the three it is. A record whose text isn't in the dump, or makes no sense,
has None as ``text``.
"""

from collections.abc import Iterator

from fadump.abi.linux import printk as abi
from fadump.errors import FormatError, LimitError
from fadump.limits import MOST_LOG_BYTES, MOST_LOG_RECORDS, Budget
from fadump.linux.log.old_log import FlatBuffer, RecordBuffer
from fadump.linux.log.record import LogRecord, caller_name, decoded
from fadump.linux.memory import UNREADABLE, KernelMemory
from fadump.linux.vmcoreinfo import Facts, MissingFactError

_MOST_DESCRIPTOR_BITS = 26
_MOST_TEXT_BITS = 31
_ROWS_AT_ONCE_BYTES = 1 << 15


def read_log(memory: KernelMemory) -> Iterator[LogRecord]:
    """The records, oldest first, read lazily.

    :raises MissingFactError: VMCOREINFO doesn't say where the log is.
    :raises AddressError: the dump doesn't have the log's own structures, or some of its records.
    :raises TranslationError: they are at an address that isn't mapped.
    :raises FormatError: they make no sense.
    """
    for symbol, buffer in (("prb", _RingBuffer), ("log_first_idx", RecordBuffer), ("log_end", FlatBuffer)):
        if f"SYMBOL({symbol})" in memory.facts:
            return _within_budgets(buffer(memory).records())
    raise MissingFactError("SYMBOL(prb), SYMBOL(log_first_idx) or SYMBOL(log_end)")


def _within_budgets(records: Iterator[LogRecord]) -> Iterator[LogRecord]:
    """The same as long as they are no more, and no longer, than a log can be: they may all be about the same bytes."""
    count, text = Budget("records of the log", MOST_LOG_RECORDS), Budget("characters of the log", MOST_LOG_BYTES)
    for record in records:
        count.spend()
        text.spend(len(record.text or ""))
        yield record


class _RingBuffer:
    """struct printk_ringbuffer."""

    def __init__(self, memory: KernelMemory) -> None:
        facts = memory.facts
        self._memory = memory
        self._facts = facts
        ring = memory.word(facts.symbol("prb"))
        descriptors = ring + facts.offset("printk_ringbuffer.desc_ring")
        texts = ring + facts.offset("printk_ringbuffer.text_data_ring")
        counter = facts.offset("atomic_long_t.counter")
        count_bits = memory.number(descriptors + facts.offset("prb_desc_ring.count_bits"))
        self._count = 1 << _limited("number of log descriptors", count_bits, _MOST_DESCRIPTOR_BITS)
        descs = memory.word(descriptors + facts.offset("prb_desc_ring.descs"))
        infos = memory.word(descriptors + facts.offset("prb_desc_ring.infos"))
        self._descriptors = _Table(memory, descs, facts.size("prb_desc"), self._count)
        self._infos = _Table(memory, infos, facts.size("printk_info"), self._count)
        self._head = memory.word(descriptors + facts.offset("prb_desc_ring.head_id") + counter) & abi.DESCRIPTOR_ID_MASK
        self._tail = memory.word(descriptors + facts.offset("prb_desc_ring.tail_id") + counter) & abi.DESCRIPTOR_ID_MASK
        size_bits = memory.number(texts + facts.offset("prb_data_ring.size_bits"))
        self._text_bytes = 1 << _limited("size of the log's text", size_bits, _MOST_TEXT_BITS)
        self._texts = memory.word(texts + facts.offset("prb_data_ring.data"))

        self._state_at = facts.offset("prb_desc.state_var") + counter
        block = facts.offset("prb_desc.text_blk_lpos")
        self._begin_at = block + facts.offset("prb_data_blk_lpos.begin")
        self._next_at = block + facts.offset("prb_data_blk_lpos.next")

    def records(self) -> Iterator[LogRecord]:
        used = (self._head - self._tail & abi.DESCRIPTOR_ID_MASK) + 1
        if used > self._count:
            raise FormatError(f"the log has {used:,} records and only {self._count:,} descriptors for them")
        number = older = max(0, used - MOST_LOG_RECORDS)
        while number < used:
            id_ = self._tail + number & abi.DESCRIPTOR_ID_MASK
            unused = self._descriptors.zeros_from(id_ % self._count)
            record = None if unused else self._record(id_)
            number += unused or 1
            if record is not None:
                yield record
        if older:
            raise LimitError("records of the log", found=used, limit=MOST_LOG_RECORDS)

    def _record(self, id_: int) -> LogRecord | None:
        descriptor = self._descriptors.row(id_ % self._count)
        state, begin, next_ = (self._word(descriptor, at) for at in (self._state_at, self._begin_at, self._next_at))
        if state & abi.DESCRIPTOR_ID_MASK != id_:
            return None  # a writer has reused it for a later record, or hasn't written it yet
        if state >> abi.DESCRIPTOR_STATE_SHIFT not in (abi.DescriptorState.COMMITTED, abi.DescriptorState.FINALIZED):
            return None
        is_empty = begin == next_ == abi.EMPTY_LINE
        if begin & abi.DATALESS and next_ & abi.DATALESS and not is_empty:
            return None  # there was no room for the text, or it has been overwritten
        info = self._infos.row(id_ % self._count)
        text_bytes = self._info_number(info, "text_len", 2)
        text = "" if is_empty else self._text(begin, next_, text_bytes)
        return self._with_info(info, text)

    def _text(self, begin: int, next_: int, length: int) -> str | None:
        """The text between two positions of the ring; None: there is none, or the dump doesn't have it."""
        size_bytes = self._text_bytes
        start, end = begin % size_bytes, next_ % size_bytes or size_bytes
        if start >= end:
            start = 0  # no block wraps around: one that doesn't fit before the ring's end is at its start
        start += abi.BLOCK_ID_BYTES
        if end < start:
            return None
        try:
            return decoded(self._memory.read(self._texts + start, min(length, end - start)))
        except UNREADABLE:
            return None

    def _with_info(self, info: bytes, text: str | None) -> LogRecord:
        facts = self._facts
        facility = facts.offset("printk_info.text_len") + abi.INFO_FACILITY_OFFSET
        flags, level = abi.split_flags(_byte(info, facility + 1), little_endian=self._memory.byte_order == "little")
        device = facts.offset("printk_info.dev_info")
        return LogRecord(
            sequence=self._info_number(info, "seq", 8),
            timestamp_ns=self._info_number(info, "ts_nsec", 8),
            facility=_byte(info, facility),
            level=level,
            flags=abi.LogFlags(flags),
            text=text,
            caller=caller_name(self._info_number(info, "caller_id", 4)),
            subsystem=_name(info, device, facts, "subsystem"),
            device=_name(info, device, facts, "device"),
        )

    def _word(self, descriptor: bytes, offset: int) -> int:
        return int.from_bytes(descriptor[offset : offset + 8], self._memory.byte_order)

    def _info_number(self, info: bytes, member: str, size_bytes: int) -> int:
        at = self._facts.offset(f"printk_info.{member}")
        return int.from_bytes(info[at : at + size_bytes], self._memory.byte_order)


class _Table:
    """An array of structures, many of them read at once: a log has thousands."""

    def __init__(self, memory: KernelMemory, address: int, row_bytes: int, count: int) -> None:
        self._memory = memory
        self._address = address
        self._row_bytes = row_bytes
        self._count = count
        self._first = 0
        self._rows = b""
        self._are_zeros = False

    def row(self, number: int) -> bytes:
        """One structure; errors as :meth:`KernelMemory.read`."""
        at = self._load(number)
        return self._rows[at : at + self._row_bytes]

    def zeros_from(self, number: int) -> int:
        """How many structures from one on are known to be all zeros; errors as :meth:`KernelMemory.read`."""
        at = self._load(number)
        return (len(self._rows) - at) // self._row_bytes if self._are_zeros else 0

    def _load(self, number: int) -> int:
        """Where a structure is in what was read last, which has it then."""
        at = (number - self._first) * self._row_bytes
        if not 0 <= at < len(self._rows):
            self._first = number
            self._rows, at = self._read(number), 0
            self._are_zeros = bool(self._rows) and self._rows == bytes(len(self._rows))
        return at

    def _read(self, number: int) -> bytes:
        address = self._address + number * self._row_bytes
        most = max(1, _ROWS_AT_ONCE_BYTES // max(1, self._row_bytes))
        try:
            return self._memory.read(address, min(most, self._count - number) * self._row_bytes)
        except UNREADABLE:  # some can't be read, perhaps not this one
            return self._memory.read(address, self._row_bytes)


def _limited(what: str, bits: int, most: int) -> int:
    if bits > most:
        raise LimitError(f"bits in the {what}", found=bits, limit=most)
    return bits


def _byte(data: bytes, offset: int) -> int:
    return data[offset] if offset < len(data) else 0


def _name(info: bytes, device_info: int, facts: Facts, member: str) -> str:
    start = device_info + facts.offset(f"dev_printk_info.{member}")
    raw = info[start : start + facts.length(f"printk_info_{member}")]
    return decoded(raw.partition(b"\0")[0])
