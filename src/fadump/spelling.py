"""What may have been meant by a wrong word."""

from collections.abc import Iterable

AMONG_MANY = 0.6
"""How alike two words are, from 0 to 1, for one to be meant by the other."""
AMONG_FEW = 0.5
"""The same where only one of a few words can stand: gzip and zlib are alike. Among many, verify and memory would be."""


def nearest(word: str, choices: Iterable[str], alike: float = AMONG_MANY) -> str | None:
    """The choice that is most like a word; None if none is ``alike`` enough."""
    import difflib  # noqa: PLC0415 - slow to start, and only a wrong word needs it

    return next(iter(difflib.get_close_matches(word, list(choices), n=1, cutoff=alike)), None)
