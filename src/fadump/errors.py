"""One tree of errors. A message is one sentence: what is wrong, where, and what to do about it."""


class FadumpError(Exception):
    """Anything that this project reports to its user; the commands print it as one sentence and exit with 1."""


class FormatError(FadumpError, ValueError):
    """Bytes that are not what their format asks for.

    ``offset`` counts bytes from the start of the input; ``expected`` and ``found`` are what the format has
    and what stood there, where that can be said.
    """

    def __init__(self, message: str, *, offset: int, expected: object = None, found: object = None) -> None:
        self.offset = offset
        self.expected = expected
        self.found = found
        detail = f" at offset {offset:#x}"
        if expected is not None:
            detail += f": expected {_shown(expected)}, found {_shown(found)}"
        super().__init__(message + detail)


class AddressError(FadumpError, LookupError):
    """Guest memory that isn't there: ``length`` bytes from physical ``address`` are not all RAM."""

    def __init__(self, address: int, length: int) -> None:
        self.address = address
        self.length = length
        super().__init__(f"{length:#x} bytes at {address:#x} are not all in guest memory")


class SetupError(FadumpError):
    """Something that the host lacks; the sentence says how to get it."""


class MachineError(FadumpError):
    """The machine did something other than what the cycle waited for, or nothing in time."""


def _shown(value: object) -> str:
    return f"{value:#x}" if isinstance(value, int) else repr(value)
