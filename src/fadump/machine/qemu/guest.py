"""The guest channel: requests to the guest's init and its reports, one line each (docs/guest-channel.md)."""

import base64

from fadump.errors import FormatError
from fadump.machine.contract import (
    Crash,
    GuestReport,
    Register,
    Release,
    Request,
    Reregister,
    RunScript,
    Save,
    SaveOpalCore,
    Unregister,
)

LONGEST_LINE_BYTES = 1 << 20


def encode_request(request: Request) -> bytes:
    """The line that asks for this."""
    match request:
        case Register():
            line = "register"
        case Crash(cpu):
            line = f"crash cpu={cpu}"
        case Save():
            line = "save"
        case SaveOpalCore():
            line = "save_opalcore"
        case Release():
            line = "release"
        case Reregister():
            line = "reregister"
        case Unregister():
            line = "unregister"
        case RunScript(script):
            line = f"run b64={base64.b64encode(script.encode()).decode()}"
    return f"{line}\n".encode()


def decode_report(line: bytes) -> GuestReport:
    """What a line says: a step, then ``key=value`` words; ``reason`` takes the rest of the line.

    :raises FormatError: the line is no report.
    """
    text = line.decode(errors="replace").strip()
    head, reason_follows, reason = text.partition(" reason=")
    words = head.split()
    if not words:
        raise FormatError("the guest sent an empty report", offset=0)
    fields = {}
    for word in words[1:]:
        key, separator, value = word.partition("=")
        if not separator:
            raise FormatError(f"the guest's report {text[:80]!r} has a word without a value", offset=text.find(word))
        fields[key] = value
    if reason_follows:
        fields["reason"] = reason
    return GuestReport(words[0], fields)
