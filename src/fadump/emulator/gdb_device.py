"""Where the caller's own gdb attaches: what ``-gdb`` and ``-s`` say, and a socket of ours that waits there.

QEMU's stub serves one gdb, and that is the firmware. So the caller's goes by way of the firmware
(:mod:`fadump.machine.qemu.debugger`).
"""

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fadump.emulator.command_line import Option
from fadump.errors import UsageError, reason

NO_GDB = "none"
SHORT_FORM = "tcp::1234"
"""What ``-s`` stands for."""
_TCP, _UNIX = "tcp:", "unix:"
_SERVER = ("server", "on")
_NO_WAIT = (("wait", "off"), ("nowait", "on"))
_HARMLESS = (_SERVER, *_NO_WAIT, ("nodelay", "on"), ("nodelay", "off"))
"""The properties of a socket that a listening one may have."""


@dataclass(frozen=True, slots=True)
class GdbDevice:
    """A place where gdb attaches, in QEMU's words ``text``: a TCP port of ``host``, "" for all; or a socket's path."""

    text: str
    host: str = ""
    port: str = ""
    path: Path | None = None

    def listen(self) -> socket.socket:
        """A socket that waits for a gdb there, as QEMU's would.

        :raises UsageError: the place can't be had; QEMU can't have it either.
        """
        try:
            return self._listen_at_port() if self.path is None else _listen_at_path(self.path)
        except (OSError, UnicodeError, OverflowError) as error:
            why = reason(error) if isinstance(error, OSError) else str(error)
            raise UsageError(f"-gdb {self.text}: {why}") from error

    def _listen_at_port(self) -> socket.socket:
        found = socket.getaddrinfo(self.host or None, self.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, *_kind, address = found[0]
        if not self.host and socket.has_dualstack_ipv6():
            return socket.create_server(("", address[1]), family=socket.AF_INET6, dualstack_ipv6=True)
        return socket.create_server(address[:2], family=family)

    def forget(self) -> None:
        """Leave no socket in the file system."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def last_gdb_device(options: Sequence[Option]) -> str:
    """What the command line says of gdb last, which is what counts."""
    devices = [SHORT_FORM if option.name == "s" else option.value for option in options if is_about_gdb(option)]
    return devices[-1] if devices else NO_GDB


def is_about_gdb(option: Option) -> bool:
    """Whether an option says where gdb attaches."""
    return option.name in ("gdb", "s")


def parse_gdb_device(text: str) -> GdbDevice | None:
    """The place that QEMU calls so; None if it isn't one where somebody can wait."""
    option = Option("gdb", text)
    properties = dict(option.pairs)
    address = properties.pop("", "")
    if any(item not in _HARMLESS for item in properties.items()):
        return None
    if address.startswith(_TCP):
        host, colon, port = address.removeprefix(_TCP).rpartition(":")
        return GdbDevice(text, host=host.removeprefix("[").removesuffix("]"), port=port) if colon and port else None
    waits = _SERVER in properties.items() and any(item in properties.items() for item in _NO_WAIT)
    if address.startswith(_UNIX) and waits:
        return GdbDevice(text, path=Path(address.removeprefix(_UNIX)).absolute())
    return None


def _listen_at_path(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    try:
        path.unlink(missing_ok=True)  # as QEMU does
        listener.bind(str(path))
        listener.listen()
    except BaseException:
        listener.close()
        raise
    return listener
