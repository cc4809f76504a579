"""What of a dump's text a report shows: nothing that controls a terminal or a browser, and no secrets.

The environment of programs, which the kernel logs when it starts init, is always left out. On demand host names,
network addresses and command lines are hidden, too: rather a word too many than one too few.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv6Address

from fadump.printable import in_a_line, printable

_HOST, _ADDRESS, _COMMAND_LINE = "(host)", "(address)", "(command line)"
_MAC = re.compile(r"\b[0-9A-Fa-f]{2}(?:[:-][0-9A-Fa-f]{2}){5,7}\b")
_IPV4 = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.]\d)")
_MAY_BE_IPV6 = re.compile(r"(?<![\w:.])[0-9A-Fa-f:]*:[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*")
_COMMANDS = re.compile(r"((?i:command line|cmdline|with arguments|cmd|comm-line) ?[:=] ?)\S.*")
_LEAST_NAME = 2
_ENVIRONMENT_FOLLOWS = "with environment:"
_ARGUMENTS_FOLLOW = "with arguments:"
_HIDDEN_VARIABLE, _HIDDEN_ARGUMENT = "    (a variable of the environment)", "    (an argument)"


@dataclass(frozen=True, slots=True)
class Words:
    """How text out of a dump is told. ``names`` are hidden; ``redacts``: addresses and command lines, too."""

    redacts: bool = False
    names: tuple[re.Pattern[str], ...] = ()

    @classmethod
    def of(cls, *, redacts: bool, names: Iterable[str | None]) -> "Words":
        """For a system of some names, of which each may have a domain behind a dot."""
        if not redacts:
            return cls()
        all_names = {part for name in names if name for part in (name, name.partition(".")[0])}
        wanted = sorted((name for name in all_names if len(name) >= _LEAST_NAME and name != "(none)"), key=len)
        return cls(True, tuple(_word(name) for name in reversed(wanted)))

    def tell(self, text: str) -> str:
        """Text as one line, fit to be shown."""
        return in_a_line(self._hidden(text) if self.redacts else text)

    def _tell_lines(self, text: str) -> str:
        return printable(self._hidden(text) if self.redacts else text)

    def command_line(self, text: str) -> str:
        """A command line, or that there was one."""
        return _COMMAND_LINE if self.redacts else in_a_line(text)

    def tell_log(self, texts: Iterable[str | None]) -> Sequence[str | None]:
        """Messages of the log, in their order, without those that are variables of the environment."""
        told: list[str | None] = []
        hides: str | None = None
        for text in texts:
            if text is None:
                told.append(None)
                continue
            if hides is not None and text.startswith(" ") and not text.strip().startswith("with "):
                told.append(hides)
                continue
            hides = None
            if _ENVIRONMENT_FOLLOWS in text:
                hides = _HIDDEN_VARIABLE
            elif _ARGUMENTS_FOLLOW in text and self.redacts:
                hides = _HIDDEN_ARGUMENT
            told.append(self._tell_lines(text))
        return told

    def _hidden(self, text: str) -> str:
        shown = _COMMANDS.sub(lambda found: found[1] + _COMMAND_LINE, text)
        for name in self.names:
            shown = name.sub(_HOST, shown)
        shown = _MAC.sub(_ADDRESS, shown)
        shown = _IPV4.sub(_ADDRESS, shown)
        return _MAY_BE_IPV6.sub(_hidden_address, shown)


def _word(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){re.escape(name)}(?!\w)", re.IGNORECASE)


def _hidden_address(found: re.Match[str]) -> str:
    text = found[0]
    end = len(text.rstrip(".:")) if not text.endswith("::") else len(text)
    try:
        IPv6Address(text[:end])
    except AddressValueError:
        return text
    return _ADDRESS + text[end:]
