"""Where this machine's own apt gets Debian from: the mirror and the keyring that the administrator chose.

Formats: sources.list(5), one line or deb822 style. Of the entries that could be the Debian archive, the
one that looks most like it is taken; whether it really is one, apt's signature check tells.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fadump.errors import SetupError

SUITES = ("trixie", "forky", "duke", "sid", "bookworm", "bullseye")
"""Where to look for a package: the newest stable release first, then what is not released yet, then older ones."""

_SUITE_NAMES = {*SUITES, "stable", "testing", "unstable", "oldstable"}
_ONE_LINE = re.compile(r"deb\s+(?:\[(?P<options>[^]]*)\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)\s+(?P<components>.+)")
_KEYRING_OF_DEBIAN = "debian-archive"


@dataclass(frozen=True, slots=True)
class DebianSource:
    """A Debian archive: its address, and who signs it.

    ``signed_by`` is what apt's ``Signed-By`` field takes (a keyring's path, a fingerprint, or a whole key
    over several lines); empty means apt's common keyrings.
    """

    uri: str
    signed_by: str


def find_debian_source(etc_apt: Path = Path("/etc/apt")) -> DebianSource:
    """The Debian archive of this machine's own apt sources.

    :raises SetupError: there is none.
    """
    found: list[tuple[int, DebianSource]] = []
    for path in (etc_apt / "sources.list", *sorted((etc_apt / "sources.list.d").glob("*"))):
        if path.suffix not in (".list", ".sources") or not path.is_file():
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        entries = _deb822_entries(text) if path.suffix == ".sources" else _one_line_entries(text)
        found.extend((_likeness(source, suites), source) for source, suites in entries)
    if not found:
        raise SetupError(
            f"no entry in {etc_apt}/sources.list or {etc_apt}/sources.list.d is the main part of a Debian "
            "archive: add one for this machine's release, or give --kernel and --initrd"
        )
    return max(found, key=lambda candidate: candidate[0])[1]  # the first of the best


def _one_line_entries(text: str) -> Iterator[tuple[DebianSource, list[str]]]:
    for line in text.splitlines():
        entry = _ONE_LINE.fullmatch(line.split("#", 1)[0].strip())
        if entry is None:
            continue
        options = dict(option.partition("=")[::2] for option in (entry["options"] or "").split())
        source = DebianSource(entry["uri"], options.get("signed-by", ""))
        if _may_be_debian(source, [entry["suite"]], entry["components"].split()):
            yield source, [entry["suite"]]


def _deb822_entries(text: str) -> Iterator[tuple[DebianSource, list[str]]]:
    lines = (line for line in text.splitlines() if not line.startswith("#"))
    for stanza in re.split(r"\n\s*\n", "\n".join(lines)):
        fields = _fields(stanza)
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").lower() in ("no", "false"):
            continue
        suites = fields.get("suites", "").split()
        for uri in fields.get("uris", "").split():
            source = DebianSource(uri, fields.get("signed-by", ""))
            if _may_be_debian(source, suites, fields.get("components", "").split()):
                yield source, suites


def _fields(stanza: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    name = ""
    for line in stanza.splitlines():
        if line[:1].isspace():
            if name:
                fields[name] += f"\n{line}"
        elif ":" in line:
            name, _, value = line.partition(":")
            name = name.strip().lower()
            fields[name] = value.strip()
    return fields


def _may_be_debian(source: DebianSource, suites: list[str], components: list[str]) -> bool:
    releases = {suite.removesuffix("-updates") for suite in suites}
    return "main" in components and bool(releases & _SUITE_NAMES) and not source.uri.startswith("cdrom:")


def _likeness(source: DebianSource, suites: list[str]) -> int:
    """Others offer a ``main`` for Debian's suites too; Debian's own has Debian's keyring and a path that says so."""
    by_debian = _KEYRING_OF_DEBIAN in source.signed_by
    by_common_keyrings = not source.signed_by
    named_debian = source.uri.rstrip("/").endswith("/debian")
    has_release = any(suite in _SUITE_NAMES for suite in suites)
    return 8 * by_debian + 4 * by_common_keyrings + 2 * named_debian + has_release
