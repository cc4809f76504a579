"""The look that all commands share which tell a story: a line for each thing that has come to pass, and on a terminal
one that moves, with what is waited for.

    look = Look(sys.stdout, like=sys.stdout)
    with look.shown("making the machine ready"):
        look.reached("power on", 0.0)
        look.ahead("the kernel boots and registers")

On a terminal a line has a mark, the seconds since power-on, the text, and how long that took::

    ✓  21.40 s  the kernel has registered with the firmware          21.4 s

Elsewhere it has the seconds and the text, and nothing moves: what is waited for is a line on stderr, once it has taken
two seconds, and every ten after that.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, TextIO

from fadump.printable import printable
from fadump.progress import Step, Tone, beside, duration, is_terminal, moving, reminding

_LEAST_SECONDS = 0.05
"""A shorter time isn't told: it would be 0.0 s."""
_INDENT = " " * 12


class Written(Protocol):
    """What lines are written to."""

    def write(self, text: str, /) -> int:
        """As a text file's."""

    def flush(self) -> None:
        """As a text file's."""


class Look:
    """One story, on ``stream``.

    ``like`` is the file behind it, which says how wide a line may be and whether it has colours; None: it is none of a
    terminal's. Each line begins with ``prefix``.
    """

    def __init__(
        self,
        stream: Written,
        *,
        like: TextIO | None = None,
        prefix: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream
        self._terminal = like if like is not None and is_terminal(like) else None
        self._prefix = prefix
        self._before = 0.0
        self._step = Step("", clock=clock)

    @contextmanager
    def shown(self, label: str, *, among_others: bool = False) -> Iterator[None]:
        """While the block runs it is said on stderr what is waited for, with ``label`` to begin with. ``among_others``,
        such as a console's, no line moves: what they say is printed :func:`.beside` ours.
        """
        self._step.begin(label)
        with reminding(self._step) if among_others else moving(self._step):
            yield

    def ahead(self, label: str, total: float | None = None, unit: str = "steps") -> Step:
        """Say what is waited for from now on; what is returned tells how far it is, where ``total`` is known."""
        self._step.begin(label, total, unit)
        return self._step

    @property
    def waited_for(self) -> str:
        """What that is, and how far."""
        return f"{self._step.label}: {self._step.status()}"

    def reached(self, text: str, at_seconds: float, tone: Tone = Tone.DONE) -> None:
        """Tell what has come to pass, so many seconds after power-on."""
        took, self._before = at_seconds - self._before, at_seconds
        lead, text = f"{at_seconds:7.2f} s  ", printable(text)
        if self._terminal is None:
            self._print(f" {lead}{text}")
            return
        from fadump.moving_line import line_that_stays  # noqa: PLC0415 - rich is slow to start

        shown = duration(took) if took >= _LEAST_SECONDS else ""
        self._print(line_that_stays(tone.value, lead, text, shown, self._terminal, len(self._prefix)))

    def more(self, text: str, tone: Tone = Tone.NOTE) -> None:
        """Tell more about what has come to pass last."""
        if self._terminal is None:
            self.say(f"{_INDENT}{text}")
            return
        from fadump.moving_line import line_that_stays  # noqa: PLC0415 - rich is slow to start

        blank = ("", "", tone.value[2])
        self._print(line_that_stays(blank, _INDENT, printable(text), "", self._terminal, len(self._prefix)))

    def say(self, text: str) -> None:
        """A line as it stands."""
        self._print(printable(text))

    def begin(self) -> None:
        """What comes is a story of its own, from power-on."""
        self._before = 0.0

    def _print(self, text: str) -> None:
        with beside():
            for line in text.split("\n"):
                print(f"{self._prefix}{line}", file=self._stream, flush=True)
