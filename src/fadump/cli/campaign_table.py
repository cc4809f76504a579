"""How far a campaign is, as a table that moves on a terminal. A module of its own, as rich is slow to start."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from fadump.campaign.outcome import Outcome
from fadump.cli.campaign_view import CampaignView, tone_of
from fadump.progress import Tone
from fadump.signals import held


class MovingView(CampaignView):
    """The same as a table that is drawn anew while the block of :meth:`shown` runs."""

    @contextmanager
    def shown(self, out: TextIO) -> Iterator[None]:
        """Draw it."""
        live = Live(get_renderable=self._table, console=Console(file=out), refresh_per_second=2, transient=True,
                    redirect_stdout=False, redirect_stderr=False)  # fmt: skip
        with held():  # a thread is started
            live.start()
        try:
            yield
        finally:
            live.stop()

    def waiting(self) -> None:
        """The table moves."""

    def say(self, line: str, tone: Tone = Tone.NOTE) -> None:
        """The table has it."""

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 2))
        table.add_row("", Text(self.status()))
        for outcome in Outcome:
            if self.counts[outcome]:
                _mark, _in_ascii, style = tone_of(outcome).value
                table.add_row(Text(str(self.counts[outcome])), Text(outcome, style=style))
        for title, time_text in self.longest():
            table.add_row(Text(time_text, style="dim"), Text(title, overflow="ellipsis", no_wrap=True))
        for failure in self.failures:
            table.add_row("", Text(failure, style=Tone.BAD.value[2], overflow="ellipsis", no_wrap=True))
        return table
