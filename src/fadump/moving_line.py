"""Lines on a terminal: one that moves while long work is done, and those that stay; :mod:`fadump.progress` says when.

It is a module of its own because rich takes longer to start than much of what is done without a terminal. Width,
colours and ``NO_COLOR`` are rich's business.
"""

import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task
from rich.table import Column
from rich.text import Text

from fadump.signals import held

_WIDEST = 100
"""Columns: on a wider terminal a duration would stand too far from its text."""
_LEAST_TEXT = 20


class MovingLine:
    """A label, a bar if it is known how much there is to do, and a text.

    Both texts are asked for anew each time the line is drawn.
    """

    def __init__(self, label: Callable[[], str], total: float | None, status: Callable[[], str], out: TextIO) -> None:
        console = Console(file=out)
        self._display = Progress(
            SpinnerColumn("line" if console.options.ascii_only else "dots"),
            _TextColumn(label, may_shrink=True),
            _Bar(),
            _TextColumn(status, may_shrink=False),
            console=console,
            transient=True,
            redirect_stdout=False,  # a command's result must not end on stderr
        )
        self._bar = self._display.add_task("", total=total)

    def update(self, done: float, total: float | None) -> None:
        """Set how far the bar is; of a ``total`` that isn't known, None, there is none."""
        if total is None and self._display.tasks[0].total is not None:  # rich can't take a total back
            self._display.remove_task(self._bar)
            self._bar = self._display.add_task("", total=None)
        self._display.update(self._bar, completed=done, total=total)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Draw the line while the block runs, and take it away at its end."""
        self._start()
        try:
            yield
        finally:
            self._display.stop()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Take a line that is shown away while the block runs."""
        self._display.stop()
        try:
            yield
        finally:
            self._start()

    def _start(self) -> None:
        with held():  # a thread is started
            self._display.start()


class _Bar(ProgressColumn):
    """In the terminal's own colours; none where there is nothing to measure."""

    def __init__(self) -> None:
        super().__init__()
        self._bar = BarColumn(bar_width=12, style="dim", complete_style="green", finished_style="green")

    def render(self, task: Task) -> RenderableType:
        return Text() if task.total is None else self._bar.render(task)


class _TextColumn(ProgressColumn):
    """Text of the work itself, which knows more than rich's task."""

    def __init__(self, text: Callable[[], str], *, may_shrink: bool) -> None:
        super().__init__(Column(no_wrap=not may_shrink))
        self._text = text

    def render(self, task: Task) -> Text:
        return Text(self._text(), no_wrap=True, overflow="ellipsis")


def line_that_stays(mark: tuple[str, str, str], lead: str, text: str, took: str, out: TextIO, taken: int = 0) -> str:
    """A mark, ``lead``, a text that is wrapped behind it, and at the right how long it took; with colours for ``out``.

    ``taken`` columns of the first line are another's. ``mark`` is the value of a :class:`fadump.progress.Tone`; a bold
    style is the text's, too.
    """
    console = Console(file=out, highlight=False)
    sign, sign_in_ascii, style = mark
    width = min(console.width, _WIDEST) - 1 - taken
    room = max(width - len(sign) - len(lead) - (len(took) + 2 if took else 0), _LEAST_TEXT)
    first, *more = textwrap.wrap(text, room) or [""]
    said = style if "bold" in style else ""
    line = Text()
    line.append(sign_in_ascii if console.options.ascii_only else sign, style)
    line.append(lead + first, said)
    if took:
        line.append(" " * (room - len(first) + 2) + took)
    for rest in more:
        line.append("\n" + " " * (len(sign) + len(lead)) + rest, said)
    with console.capture() as captured:
        console.print(line, soft_wrap=True)
    return captured.get().rstrip("\n")
