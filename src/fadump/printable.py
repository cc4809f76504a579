"""Text from a file, made safe to show: it must not control the terminal, and must not be endless."""

from collections.abc import Iterable, Iterator, Sequence

MOST_LISTED = 8
"""How many sentences of one sort are listed; the rest are counted."""
_LONGEST_QUOTED = 100


def printable(text: str) -> str:
    """Escape each character that isn't printable, except tabs and newlines."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() or character in "\t\n" else _escape(character) for character in text
    )


def in_a_line(text: str) -> str:
    """The same as one line: what breaks it is escaped, too, as in the name of a file that isn't ours."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


def quoted(text: str) -> str:
    """The text as Python writes it; only its beginning if it is long."""
    return repr(text) if len(text) <= _LONGEST_QUOTED else f"{text[:_LONGEST_QUOTED]!r}..."


def is_utf8(text: str) -> bool:
    """Whether it can be written as UTF-8: not so a file's name that isn't."""
    return text == as_utf8(text)


def as_utf8(text: str) -> str:
    """The same with what UTF-8 has no bytes for escaped."""
    return text.encode(errors="backslashreplace").decode()


def first_of(sentences: Iterable[str]) -> Iterator[str]:
    """The first of some sentences, and one that counts the others."""
    more = 0
    for number, sentence in enumerate(sentences):
        if number < MOST_LISTED:
            yield sentence
        else:
            more += 1
    if more:
        yield f"and {more} more like that"


def with_others(several: Sequence[object]) -> str:
    """The first of several, which are sentences or names, and how many others there are."""
    others = len(several) - 1
    return f"{several[0]} (and {others} more)" if others else str(several[0])


def counted(count: int, what: str) -> str:
    """A number with what it counts: "1 CPU", "2 resets"."""
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
