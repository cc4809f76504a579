"""QEMU's command line, as far as every QEMU agrees on it: which words are options, and which are their values."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from fadump.errors import UsageError

WITHOUT_VALUE = frozenset(
    [
        *("S", "alt-grab", "async-teardown", "audio-help", "ctrl-grab", "curses", "daemonize", "enable-fips"),
        *("enable-kvm", "enable-sync-profile", "full-screen", "h", "help", "jitdump", "mem-prealloc", "no-acpi"),
        *("no-fd-bootchk", "no-frame", "no-hpet", "no-kvm", "no-kvm-irqchip", "no-kvm-pit", "no-kvm-pit-reinjection"),
        *("no-quit", "no-reboot", "no-shutdown", "no-user-config", "nodefaults", "nographic", "old-param"),
        *("only-migratable", "perfmap", "portrait", "preconfig", "s", "sdl", "semihosting", "singlestep", "snapshot"),
        *("usb", "version", "win2k-hack", "xen-attach", "xen-domid-restrict"),
    ]
)
"""The options that take no value (QEMU's qemu-options.hx); every other one takes the word after it."""
_HELP = ("help", "?")
_DOUBLED = "\0"
"""In place of a doubled comma: no word of a command line has it."""


@dataclass(frozen=True, slots=True)
class Option:
    """An option without its dashes; ``at`` and ``value_at`` are where in the command line it and its value stand.

    A word that belongs to no option is a disk, and the value of the option "hda" as QEMU takes it.
    """

    name: str
    value: str = ""
    value_at: int | None = None
    at: int | None = field(default=None, compare=False)

    @property
    def pairs(self) -> Mapping[str, str]:
        """The value's properties, as in ``-m size=4G,slots=2``; the first may have no name, which is "" here."""
        if self.value.startswith("{"):
            return _json_pairs(self.value)
        pairs = {}
        for index, item in enumerate(_split(self.value)):
            name, equals, value = item.partition("=")
            if equals:
                pairs[name] = value
            elif index == 0:
                pairs[""] = name
            else:
                pairs[name] = "on"
        return pairs

    @property
    def asks_for_help(self) -> bool:
        """Whether QEMU lists what there is, and ends."""
        if self.name == "append":
            return False
        pairs = self.pairs
        return pairs.get("") in _HELP or any(name in _HELP for name in pairs)


def parse(words: Sequence[str]) -> list[Option]:
    """The options of a command line, without QEMU's own name.

    :raises UsageError: the last one lacks its value.
    """
    return list(_options(words))


def _options(words: Sequence[str]) -> Iterator[Option]:
    at = 0
    while at < len(words):
        word = words[at]
        if not word.startswith("-") or word == "-":
            yield Option("hda", word, at, at)
        else:
            name = word.removeprefix("-").removeprefix("-")
            if name in WITHOUT_VALUE:
                yield Option(name, at=at)
            elif at + 1 == len(words):
                raise UsageError(f"{word} lacks its value")
            else:
                at += 1
                yield Option(name, words[at], at, at - 1)
        at += 1


def _split(text: str) -> Iterator[str]:
    """At each comma; two of them stand for one in a value."""
    for item in text.replace(",,", _DOUBLED).split(","):
        yield item.replace(_DOUBLED, ",")


def _json_pairs(text: str) -> Mapping[str, str]:
    try:
        value = json.loads(text)
    except ValueError:  # QEMU says so
        return {}
    return {name: _as_text(given) for name, given in value.items()} if isinstance(value, dict) else {}


def _as_text(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)
