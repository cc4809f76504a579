"""What of a dump's text a report shows: nothing that controls a terminal or a browser, and no secrets.

The environment of programs, which the kernel logs when it starts init, is always left out. On demand names of hosts
and users, network addresses, serial numbers and command lines are hidden, too: rather a word too many than one too few.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv6Address

from fadump.printable import in_a_line, printable

_HOST, _USER, _ADDRESS = "(host)", "(user)", "(address)"
_COMMAND_LINE, _SERIAL, _UUID = "(command line)", "(serial number)", "(UUID)"
_HIDDEN = (
    (r"((?i:command line(?: parameters)?|cmdline|with arguments|cmd|comm-line) ?[:=] ?)\S.*", rf"\1{_COMMAND_LINE}"),
    (r"(\bcommand line parameters )\".*\"", rf"\1{_COMMAND_LINE}"),
    (r"\b((?:COMMAND|proctitle|argc)=)\S.*", rf"\1{_COMMAND_LINE}"),
    (r"\b[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}\b", _UUID),
    (r"\b[0-9A-Fa-f]{2}(?:[:-][0-9A-Fa-f]{2}){5,}\b", _ADDRESS),
    (r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.]\d)", _ADDRESS),
    (r"\bU[0-9A-Z]{4}\.[0-9A-Z]{3}\.[0-9A-Z]{7}(?:-[A-Z]\d+)*\b", _SERIAL),  # a location code has the machine's
    (r"((?i:\bserial ?number|\bS/N)[ :=]+|\bserial=)[\w.-]+", rf"\1{_SERIAL}"),
    (r"(?<=\()[\w.+-]+@[\w.-]+(?=\))", f"{_USER}@{_HOST}"),  # who built the kernel, and where
    (r"(?<![\w.+-])[\w.+-]+@(?:[\w-]+\.)+[A-Za-z]{2,}\b", f"{_USER}@{_HOST}"),
    (r"((?i:\bsession \w+ (?:of|for) user) )\w(?:[\w.-]*\w)?", rf"\1{_USER}"),
    (r"(\b(?:ruser|user|username|acct|logname)=\"?)\w[^\s\",;)]*", rf"\1{_USER}"),
    (r"(/home/)[^\s/\",;)]+", rf"\1{_USER}"),
    (r"(\b(?:rhost|hostname|host)=\"?)\w[^\s\",;)]*", rf"\1{_HOST}"),
    (r"((?i:\bhostname (?:set )?to) <)[^<>\s]+(?=>)", rf"\1{_HOST}"),
    (r"(\w: server )\S+(?= (?:not responding|OK\b))", rf"\1{_HOST}"),
    (r"(?<![\w:/])//[\w.-]+(?=/)", f"//{_HOST}"),
    (r"(\\\\)[\w.-]+", rf"\1{_HOST}"),
)
"""What is hidden wherever it stands, in this order, and what is shown in its place."""
_REPLACEMENTS = tuple((re.compile(pattern), shown) for pattern, shown in _HIDDEN)
_MAY_BE_IPV6 = re.compile(r"(?<![\w:.])[0-9A-Fa-f:]*:[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*")
_MOUNTED_FROM = re.compile(r"(?://|(?:[\w.+-]+@)?(?=[\w.-]+:/))([\w.-]*[A-Za-z_][\w.-]*)(?:/|:/)")
_LEAST_NAME, _MOST_HOSTS = 2, 256
_ENVIRONMENT_FOLLOWS = "with environment:"
_ARGUMENTS_FOLLOW = "with arguments:"
_HIDDEN_VARIABLE, _HIDDEN_ARGUMENT = "    (a variable of the environment)", "    (an argument)"


@dataclass(frozen=True, slots=True)
class Words:
    """How text out of a dump is told. ``names`` are hidden; ``redacts``: addresses and the like, too."""

    redacts: bool = False
    names: tuple[re.Pattern[str], ...] = ()

    @classmethod
    def of(cls, *, redacts: bool, names: Iterable[str | None]) -> "Words":
        """For hosts of some names. Of one with a domain behind a dot, all others of that domain are hidden, too."""
        if not redacts:
            return cls()
        known = [name for name in names if name]
        parts = {part for name in known for part in (name, name.partition(".")[0])}
        wanted = sorted((part for part in parts if len(part) >= _LEAST_NAME and part != "(none)"), key=len)
        domains = {domain for name in known if "." in (domain := name.partition(".")[2])}
        return cls(True, (*map(_in_domain, sorted(domains)), *map(_word, reversed(wanted))))

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
        shown = text
        for pattern, replacement in _REPLACEMENTS:
            shown = pattern.sub(replacement, shown)
        for name in self.names:
            shown = name.sub(_HOST, shown)
        return _MAY_BE_IPV6.sub(_hidden_address, shown)


def hosts_of(sources: Iterable[str]) -> list[str]:
    """The hosts that something is mounted from, ``host:/path`` or ``//host/share``; of very many, the first."""
    hosts = (found[1] for found in map(_MOUNTED_FROM.match, sources) if found)
    return list(dict.fromkeys(hosts))[:_MOST_HOSTS]


def _in_domain(domain: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w.-])(?:[\w-]+\.)*{re.escape(domain)}(?!\w)", re.IGNORECASE)


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
