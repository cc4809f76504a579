"""The commands as their parser knows them: each with its options, their help and its examples."""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

from fadump.cli import build_parser
from fadump.cli.parser import HelpFormatter, Parser
from fadump.cli.paths import name, path

DIRECTORY = "DIR"


@dataclass(frozen=True, slots=True)
class Option:
    """An option, or a word that a command takes; ``shown`` is how the help has it, as in "-o FILE, --out FILE"."""

    names: tuple[str, ...]
    shown: str
    help: str
    takes_value: bool
    choices: tuple[str, ...]
    is_path: bool
    is_directory: bool


@dataclass(frozen=True, slots=True)
class Command:
    """One command, or with an empty ``words`` the program itself. ``commands`` are those that it has of its own."""

    words: tuple[str, ...]
    summary: str
    description: str
    usage: str
    arguments: tuple[Option, ...]
    options: tuple[Option, ...]
    commands: tuple["Command", ...]
    examples: str
    exit_codes: str

    @property
    def name(self) -> str:
        """What its man page is called."""
        return "-".join(("fadump", *self.words))

    def walk(self) -> Iterator["Command"]:
        """This command and all below it."""
        yield self
        for command in self.commands:
            yield from command.walk()


def read_commands() -> Command:
    """The program, as its parser has it."""
    parser = build_parser([])
    return _command(parser, (), parser.description or "")


def is_path(action: argparse.Action) -> bool:
    """Whether an option's value is a file or a directory."""
    return action.type in (path, name)


def _command(parser: Parser, words: tuple[str, ...], summary: str) -> Command:
    examples, _, exit_codes = (parser.epilog or "").partition("\n\nexit codes:")
    actions = [action for action in parser._actions if action.help is not argparse.SUPPRESS]  # noqa: SLF001 - no other way
    formatter = HelpFormatter(parser.prog)
    return Command(
        words=words,
        summary=summary,
        description=parser.description or "",
        usage=parser.format_usage().removeprefix("usage: ").rstrip(),
        arguments=tuple(
            _option(action, formatter) for action in actions if not action.option_strings and _is_plain(action)
        ),
        options=tuple(_option(action, formatter) for action in actions if action.option_strings),
        commands=tuple(_commands(actions, words)),
        examples=examples.removeprefix("example:\n"),
        exit_codes=exit_codes.strip("\n"),
    )


def _is_plain(action: argparse.Action) -> bool:
    return not isinstance(action, argparse._SubParsersAction)  # noqa: SLF001 - its type has no other name


def _commands(actions: list[argparse.Action], words: tuple[str, ...]) -> Iterator[Command]:
    for action in actions:
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - as above
            summaries = {choice.dest: choice.help or "" for choice in action._get_subactions()}  # noqa: SLF001 - as above
            for word, parser in action.choices.items():
                yield _command(parser, (*words, word), summaries[word])


def _option(action: argparse.Action, formatter: HelpFormatter) -> Option:
    takes_value = action.nargs != 0
    return Option(
        names=tuple(action.option_strings),
        shown=formatter._format_action_invocation(action),  # noqa: SLF001 - argparse shows it nowhere else
        help=formatter._expand_help(action) if action.help else "",  # noqa: SLF001 - as above
        takes_value=takes_value,
        choices=tuple(map(str, action.choices or ())),
        is_path=is_path(action),
        is_directory=is_path(action) and action.metavar == DIRECTORY,
    )
