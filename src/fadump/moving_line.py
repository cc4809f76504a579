"""The line that moves on a terminal while long work is done; :mod:`fadump.progress` says when.

It is a module of its own because rich takes longer to start than much of what is done without a terminal.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task
from rich.table import Column
from rich.text import Text


class MovingLine:
    """A label, a bar, and a text that is asked for anew each time the line is drawn."""

    def __init__(self, label: str, total: float | None, status: Callable[[], str], out: TextIO) -> None:
        self._display = Progress(
            SpinnerColumn(),
            _TextColumn(lambda: label, may_shrink=True),
            BarColumn(bar_width=12),
            _TextColumn(status, may_shrink=False),
            console=Console(file=out),
            transient=True,
            redirect_stdout=False,  # a command's result must not end on stderr
        )
        self._bar = self._display.add_task(label, total=total)

    def update(self, done: float, total: float | None) -> None:
        """Set how far the bar is; of a ``total`` that isn't known, None, it only shows that it moves."""
        self._display.update(self._bar, completed=done, total=total)

    def shown(self) -> AbstractContextManager[object]:
        """Draw the line while the block runs, and take it away at its end."""
        return self._display


class _TextColumn(ProgressColumn):
    """Text of the work itself, which knows more than rich's task."""

    def __init__(self, text: Callable[[], str], *, may_shrink: bool) -> None:
        super().__init__(Column(no_wrap=not may_shrink))
        self._text = text

    def render(self, task: Task) -> Text:
        return Text(self._text(), no_wrap=True, overflow="ellipsis")
