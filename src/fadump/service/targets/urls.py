"""Directories on other machines by their URL, as ``ssh://user@host:22/var/crash``."""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from fadump.service.settings import Kind

_USER = re.compile(r"[\w.][\w.-]*@")
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+(?:%\w+)?\]|[\w.][\w.-]*)(?::[1-9]\d*)?")


@dataclass(frozen=True, slots=True)
class RemotePlace:
    """What such a URL names; ``host`` of IPv6 is without its brackets."""

    host: str
    path: str
    user: str | None = None
    port: int | None = None


def remote_place(scheme: str, *, has_user: bool) -> Kind:
    """A URL of that scheme, which names a directory from / on."""

    def read(value: object) -> RemotePlace:
        from urllib.parse import unquote, urlsplit  # noqa: PLC0415 - slow to start

        if not isinstance(value, str):
            raise ValueError  # noqa: TRY004 - what every kind raises
        parts = urlsplit(value)
        path = unquote(parts.path, errors="strict")
        user = _USER.match(parts.netloc) if has_user else None
        host = _HOST.fullmatch(parts.netloc, user.end() if user else 0)
        is_plain = path.startswith("/") and path.isprintable() and ".." not in PurePosixPath(path).parts
        if parts.scheme != scheme or host is None or not is_plain or parts.query or parts.fragment:
            raise ValueError
        return RemotePlace(str(parts.hostname), path.rstrip("/") or "/", parts.username, parts.port)

    user = "[USER@]" if has_user else ""
    return Kind(f'"{scheme}://{user}HOST[:PORT]/DIRECTORY"', read)
