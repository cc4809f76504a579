"""The crashed kernel's log before the ring buffer of v5.10.

After the last step of "follow one crash" in docs/architecture.md. Linux: kernel/printk.c, later kernel/printk/printk.c.
From 7ff9554bb578 ("printk: convert byte-buffer to variable-length record buffer") (in v3.5) on, the records of struct
printk_log, which was struct log until v3.11; before that, text in a ring.
"""

import re
from collections.abc import Iterator, Mapping

from fadump.abi.linux import printk as abi
from fadump.errors import FormatError, LimitError
from fadump.limits import MOST_FLAT_LOG_BYTES, MOST_LOG_BUFFER_BYTES
from fadump.linux.log.record import LogRecord, caller_name, decoded
from fadump.linux.memory import UNREADABLE, KernelMemory

_PREFIX = re.compile(rb"<(\d{1,4})>(?:\[ *(\d{1,10})\.(\d{6})\] ?)?")
"""printk()'s: facility times 8 plus level, and the time in seconds, with CONFIG_PRINTK_TIME."""
_DEFAULT_LEVEL = 4


class RecordBuffer:
    """The log from v3.5 until v5.10: a sequence of records, each with its own length."""

    def __init__(self, memory: KernelMemory) -> None:
        facts = memory.facts
        self._memory = memory
        self._struct = "printk_log" if "SIZE(printk_log)" in facts else "log"
        self._header_bytes = facts.size(self._struct)
        self._buffer = memory.word(facts.symbol("log_buf"))
        self._buffer_bytes = memory.number(facts.symbol("log_buf_len"))
        if self._buffer_bytes > MOST_LOG_BUFFER_BYTES:
            raise LimitError("bytes of the log", found=self._buffer_bytes, limit=MOST_LOG_BUFFER_BYTES)
        self._first = memory.number(facts.symbol("log_first_idx"))
        self._next = memory.number(facts.symbol("log_next_idx"))
        self._facility_at = facts.offset(f"{self._struct}.text_len") + abi.RECORD_FACILITY_OFFSET

    def records(self) -> Iterator[LogRecord]:
        """The records, oldest first."""
        at, done, sequence = self._first, 0, 0
        while at != self._next:
            header = self._memory.read(self._buffer + at, self._header_bytes)
            length = self._field(header, "len", 2)
            if not length:
                if done >= self._buffer_bytes or at < self._next:
                    raise FormatError("log whose records don't end", offset=at)
                done, at = done + self._buffer_bytes - at, 0  # the buffer's end: continue at its start
                continue
            done += length
            if length < self._header_bytes or length % 4 or at + length > self._buffer_bytes:
                raise FormatError(f"a log record of impossible length, {length:#x} bytes,", offset=at)
            yield self._record(header, at, length, sequence)
            at, sequence = at + length, sequence + 1

    def _record(self, header: bytes, at: int, length: int, sequence: int) -> LogRecord:
        text_bytes = min(self._field(header, "text_len", 2), length - self._header_bytes)
        dict_bytes = min(self._field(header, "dict_len", 2), length - self._header_bytes - text_bytes)
        try:
            raw = self._memory.read(self._buffer + at + self._header_bytes, text_bytes + dict_bytes)
        except UNREADABLE:
            raw = None
        level_at = self._facility_at + 1
        byte_order = self._memory.byte_order
        flags, level = abi.split_flags(_byte(header, level_at), little_endian=byte_order == "little")
        caller = header[level_at + 1 : level_at + 1 + abi.RECORD_CALLER_BYTES]
        device = {} if raw is None else _dictionary(raw[text_bytes:])
        return LogRecord(
            sequence=sequence,
            timestamp_ns=self._field(header, "ts_nsec", 8),
            facility=_byte(header, self._facility_at),
            level=level,
            flags=abi.LogFlags(flags),
            text=None if raw is None else decoded(raw[:text_bytes]),
            caller=caller_name(int.from_bytes(caller, byte_order)) if len(caller) == abi.RECORD_CALLER_BYTES else None,
            subsystem=device.get("SUBSYSTEM", ""),
            device=device.get("DEVICE", ""),
        )

    def _field(self, header: bytes, member: str, size_bytes: int) -> int:
        at = self._memory.facts.offset(f"{self._struct}.{member}")
        return int.from_bytes(header[at : at + size_bytes], self._memory.byte_order)


class FlatBuffer:
    """The log before v3.5: text in a ring of ``log_buf_len`` bytes, of which ``log_end`` counts all ever written."""

    def __init__(self, memory: KernelMemory) -> None:
        facts = memory.facts
        self._memory = memory
        self._buffer = memory.word(facts.symbol("log_buf"))
        self._buffer_bytes = memory.number(facts.symbol("log_buf_len"))
        if not self._buffer_bytes:
            raise FormatError("a buffer of 0 bytes for the log")
        if self._buffer_bytes > MOST_FLAT_LOG_BYTES:
            raise LimitError("bytes of the log", found=self._buffer_bytes, limit=MOST_FLAT_LOG_BYTES)
        self._end = memory.number(facts.symbol("log_end"))
        # log_end has 32 bits and begins anew; logged_chars stops at the ring's size, but begins anew when it is cleared
        chars = memory.number(facts.symbol("logged_chars")) if "SYMBOL(logged_chars)" in facts else 0
        self._is_full = max(self._end, chars) >= self._buffer_bytes

    def records(self) -> Iterator[LogRecord]:
        """The lines, oldest first; the first may be cut."""
        here = self._end % self._buffer_bytes
        text = self._memory.read(self._buffer, self._buffer_bytes if self._is_full else self._end)
        if self._is_full:
            text = text[here:] + text[:here]
        for sequence, line in enumerate(text.rstrip(b"\n").split(b"\n") if text else ()):
            yield _flat_record(sequence, line)


def _flat_record(sequence: int, line: bytes) -> LogRecord:
    prefix = _PREFIX.match(line)
    if prefix is None:
        return LogRecord(sequence, None, 0, _DEFAULT_LEVEL, abi.LogFlags(0), decoded(line))
    facility, level = divmod(int(prefix[1]), 8)
    timestamp_ns = None if prefix[2] is None else (int(prefix[2]) * 1_000_000 + int(prefix[3])) * 1000
    return LogRecord(sequence, timestamp_ns, facility, level, abi.LogFlags.NEWLINE, decoded(line[prefix.end() :]))


def _byte(data: bytes, offset: int) -> int:
    return data[offset] if offset < len(data) else 0


def _dictionary(raw: bytes) -> Mapping[str, str]:
    """A record's dictionary: KEY=value, with zero bytes between them."""
    pairs = (decoded(pair).partition("=") for pair in raw.split(b"\0"))
    return {key: value for key, _sign, value in pairs}
