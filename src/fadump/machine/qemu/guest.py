"""The guest channel's lines: requests to the guest's init and its reports (docs/guest-channel.md).

A report becomes its type here or is refused, so that nobody behind this module sees a word or a field's text.
"""

import asyncio
import base64
import binascii
from collections.abc import Callable, Mapping

from fadump.errors import MachineError
from fadump.machine.channel import (
    BootMode,
    Crash,
    Crashing,
    Failed,
    Hello,
    KdumpLoaded,
    LoadKdump,
    Register,
    Registered,
    Release,
    Released,
    Report,
    Request,
    Reregister,
    RunScript,
    Save,
    Saved,
    SavedOpalCore,
    SaveOpalCore,
    Saving,
    SavingProgress,
    ScriptRan,
    Shell,
    ShellLeft,
    Unregister,
    Unregistered,
)
from fadump.memory.ranges import Range
from fadump.printable import printable

LONGEST_LINE_BYTES = 1 << 20
PROTOCOL = 1
_ABSENT = "absent"
_LONGEST_SHOWN = 80
_MOST_DIGITS = 20
"""Those of the largest number of 64 bits."""


_PLAIN: Mapping[type[Request], str] = {
    Register: "register",
    Unregister: "unregister",
    Reregister: "reregister",
    Save: "save",
    SaveOpalCore: "save_opalcore",
    Release: "release",
}
"""The requests that are a word and no more."""


def encode_request(request: Request) -> bytes:
    """The line that asks for this."""
    match request:
        case LoadKdump(kernel, initrd):
            line = f"load_kdump kernel_at={kernel.start} kernel_bytes={kernel.size_bytes}"
            line += f" initrd_at={initrd.start} initrd_bytes={initrd.size_bytes}"
        case Crash(cpu):
            line = f"crash cpu={cpu}"
        case RunScript(script):
            line = f"run b64={base64.b64encode(script.encode()).decode()}"
        case Shell(mode):
            line = f"shell mode={mode}"
        case _:
            line = _PLAIN[type(request)]
    return f"{line}\n".encode()


async def read_report(reader: asyncio.StreamReader) -> Report | None:
    """The next report that comes from the guest; None: its port has been closed, maybe in the middle of a line.

    The reader's limit is to be :data:`LONGEST_LINE_BYTES`.

    :raises MachineError: the line is longer, or not a report (see :func:`decode_report`).
    """
    try:
        line = await reader.readline()
    except ValueError:
        raise MachineError(f"the guest sent a line of more than {LONGEST_LINE_BYTES} bytes") from None
    return decode_report(line) if line.endswith(b"\n") else None


def decode_report(line: bytes) -> Report:
    """The report that a line is: a word, then ``key=value``, of which unknown ones are passed over; ``reason`` takes
    the rest of the line.

    :raises MachineError: the line is not a report, or lacks a field; the sentence names it.
    """
    text = line.decode(errors="replace").strip()
    head, reason_follows, reason = text.partition(" reason=")
    word, *pairs = head.split() or [""]
    parse = _REPORTS.get(word)
    if parse is None:
        raise MachineError(f"the guest sent {text[:_LONGEST_SHOWN]!r}, which is not a report")
    values = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator:
            raise MachineError(f"the guest reported {word} with {pair[:_LONGEST_SHOWN]!r}, which has no value")
        values[key] = value
    if reason_follows:
        values["reason"] = reason
    return parse(_Fields(word, values))


class _Fields:
    """The fields of one report, each read as what it is to be."""

    def __init__(self, word: str, values: Mapping[str, str]) -> None:
        self._word = word
        self._values = values

    def text(self, key: str) -> str:
        value = self._values.get(key)
        if value is None:
            raise MachineError(f"the guest reported {self._word} without {key}")
        return value

    def number(self, key: str) -> int:
        """A number, which is never negative."""
        text = self.text(key)
        if not (text.isascii() and text.isdecimal()):
            raise self._wrong(key, "a number")
        if len(text) > _MOST_DIGITS:
            raise self._wrong(key, f"a number of at most {_MOST_DIGITS} digits")
        return int(text)

    def bytes(self, key: str) -> bytes:
        try:
            return base64.b64decode(self.text(key).encode(), validate=True)
        except binascii.Error:
            raise self._wrong(key, "base64") from None

    def flag(self, key: str) -> bool:
        if self.text(key) not in ("0", "1"):
            raise self._wrong(key, "0 or 1")
        return self.text(key) == "1"

    def mode(self, key: str) -> BootMode:
        if self.text(key) not in list(BootMode):
            raise self._wrong(key, " or ".join(BootMode))
        return BootMode(self.text(key))

    def is_absent(self, key: str) -> bool:
        return self.text(key) == _ABSENT

    def must_be(self, key: str, number: int) -> None:
        if self.number(key) != number:
            raise self._wrong(key, str(number))

    def _wrong(self, key: str, what: str) -> MachineError:
        found = self.text(key)[:_LONGEST_SHOWN]
        return MachineError(f"the guest reported {self._word} with {key}={found!r}, not {what}")


def _hello(fields: _Fields) -> Hello:
    fields.must_be("protocol", PROTOCOL)
    return Hello(
        mode=fields.mode("mode"),
        release=printable(fields.text("release")),
        cpus=fields.number("cpus"),
        memory_bytes=fields.number("memory_kb") << 10,
        page_bytes=fields.number("page_size"),
        enabled=None if fields.is_absent("fadump_enabled") else fields.flag("fadump_enabled"),
        registered=None if fields.is_absent("fadump_registered") else fields.flag("fadump_registered"),
        opal_core_bytes=None if fields.is_absent("opalcore") else fields.number("opalcore"),
        kdump_bytes=None if fields.is_absent("crash_size") else fields.number("crash_size"),
    )


def _registered(fields: _Fields) -> Registered:
    fields.must_be("registered", 1)
    return Registered(
        reserved_bytes=None if fields.is_absent("mem_reserved") else fields.number("mem_reserved"),
        regions=None if fields.is_absent("regions") else fields.bytes("regions"),
    )


def _kdump_loaded(fields: _Fields) -> KdumpLoaded:
    area = Range.sized(fields.number("start"), fields.number("bytes"))
    return KdumpLoaded(area, printable(fields.text("reason")) or None)


def _unregistered(fields: _Fields) -> Unregistered:
    fields.must_be("registered", 0)
    return Unregistered()


_REPORTS: Mapping[str, Callable[[_Fields], Report]] = {
    "hello": _hello,
    "registered": _registered,
    "unregistered": _unregistered,
    "loaded_kdump": _kdump_loaded,
    "crashing": lambda fields: Crashing(fields.number("cpu")),
    "saving": lambda fields: Saving(fields.number("bytes")),
    "progress": lambda fields: SavingProgress(fields.number("bytes")),
    "saved": lambda fields: Saved(fields.number("bytes")),
    "saved_opalcore": lambda fields: SavedOpalCore(fields.number("bytes"), fields.number("offset")),
    "released": lambda fields: Released(fields.number("bytes")),
    "ran": lambda fields: ScriptRan(fields.number("status"), fields.number("bytes"), fields.bytes("base64")),
    "left": lambda _fields: ShellLeft(),
    "failed": lambda fields: Failed(fields.text("step"), fields.text("reason")),
}
