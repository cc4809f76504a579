"""Text from a crashed system, as it may be shown on a terminal: it must not tell the terminal anything."""


def printable(text: str) -> str:
    """The same text with an escape for each character that isn't printed, but for tabs and newlines."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or one in "\t\n" else _escape(one) for one in text)


def _escape(one: str) -> str:
    return one.encode("unicode_escape").decode("ascii")
