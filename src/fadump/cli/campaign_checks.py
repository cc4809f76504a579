"""What ``run``, ``rehearse`` and ``compare`` say of a campaign's words, asked before anything is started."""

from collections.abc import Sequence

from fadump.campaign.commands import COMPARE, GUEST, KERNEL, REHEARSE, RUN
from fadump.campaign.matrix import CONFIGURATION
from fadump.cli import build_parser, compare, run
from fadump.cli.parser import Parser, parse
from fadump.cli.system_arguments import system_with_firmware
from fadump.compare.setup import LEAST_BYTES
from fadump.run.host import needed_bytes
from fadump.run.options import check_options
from fadump.systems.vm import check_machine

_OURS = {"help", "json", "quiet", "verbose", "out", "timeout", "interactive", "gdb", "stop-at"}
_OURS |= {"junit", "artifacts", "with-dump"}
"""Options that a campaign gives, that somebody has to sit at, or whose files would go with the run."""
_FROM_OTHERS = {"disk"}


class CommandChecks:
    """The parsers of these commands."""

    def __init__(self) -> None:
        self._parsers = {name: build_parser([name]) for name in (RUN, REHEARSE, COMPARE)}

    @property
    def names(self) -> list[str]:
        """What can be a factor: the options of a run or rehearsal, whose guest it is, and what is compared instead."""
        options = {name for command in (RUN, REHEARSE) for name in self._command(command).long_options}
        return sorted((options | {GUEST, KERNEL, CONFIGURATION}) - _OURS - _FROM_OTHERS)

    def memory_bytes(self, words: Sequence[str]) -> int:
        command = words[0]
        options = parse(self._parsers[command], words)
        if command == COMPARE:
            compare.chosen(options)
            return LEAST_BYTES
        if command == RUN:
            wanted = run.run_options(options)
            check_options(wanted)
            return needed_bytes(wanted)
        wanted_system = system_with_firmware(options)
        check_machine(wanted_system)
        return wanted_system.memory_bytes

    def _command(self, name: str) -> Parser:
        command = self._parsers[name].command([name])
        assert command is not None  # noqa: S101 - its parser knows it
        return command
