"""In which line of a configuration a setting stands, which tomllib doesn't tell."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_HEADER = re.compile(r"\s*(\[\[?)\s*(\w+)\s*\]")
_KEY = re.compile(r"\s*(?:([\w-]+)|\"([^\"\\]*)\"|'([^']*)')\s*[.=]")


def lines_of(text: str) -> Mapping[tuple[str, str], int]:
    """The line of each table and key by the words that name both in sentences, as ("save.", "level").

    A table is ("", "save") and ("save.", ""), the second [[target]] ("target 2: ", ""). What begins a line of a text in
    several lines may be taken for a key; only sentences are made of it.
    """
    lines: dict[tuple[str, str], int] = {}
    tables: dict[str, int] = {}
    where = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            name = header[2]
            tables[name] = tables.get(name, 0) + 1
            where = f"{name}." if header[1] == "[" else f"{name} {tables[name]}: "
            lines.setdefault(("", name), number)
            lines.setdefault((where, ""), number)
        elif key := _KEY.match(line):
            lines.setdefault((where, key[1] or key[2] or key[3] or ""), number)
    return lines


@dataclass(frozen=True, slots=True)
class Problems:
    """What is wrong with a configuration: sentences, each with the line that it is about where that is known."""

    lines: Mapping[tuple[str, str], int]
    sentences: list[str] = field(default_factory=list)

    def add(self, where: str, key: str, sentence: str) -> None:
        """Add one about a key of a table; one that is missing is the table's."""
        names = [(where, key), (where, ""), ("", where.rstrip("."))]
        line = next((self.lines[name] for name in names if name in self.lines), None)
        self.sentences.append(sentence if line is None else f"line {line}: {sentence}")
