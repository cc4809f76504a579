"""How words become options: one parser for every command, with the same options and the same answers.

A wrong word is answered in one line: what it was, what can stand there, and which of that comes nearest.
"""

import argparse
import re
import textwrap
from collections.abc import Callable, Iterator, Sequence
from itertools import takewhile
from typing import Any, NoReturn, TypeAlias

from fadump.cli.example_text import fitted
from fadump.cli.output import Answer, ExitCode, Output
from fadump.errors import UsageError
from fadump.spelling import AMONG_FEW, nearest

Run = Callable[[argparse.Namespace, Output], Answer]
"""What a command does. Its text is printed by who called it; only what is told live goes to the output at once."""
Commands: TypeAlias = "argparse._SubParsersAction[Parser]"  # noqa: SLF001 - what add_subparsers() returns has no other name
"""What :func:`add_command` adds a command to."""
JSON_OPTION = "--json"
_EXIT_CODES = """exit codes: 0 done, 1 failed, 2 wrong usage, 125 could not be tried,
128+N ended by signal N; 'fadump --help' says more
"""
_OPTION = re.compile(r"--?[a-z][^ ]*")


class CommandLineError(UsageError):
    """The words that a command was given are wrong; ``command`` is what it is called, as in "fadump run"."""

    def __init__(self, command: str, sentence: str, phase: str | None = None) -> None:
        super().__init__(sentence)
        self.command = command
        self.phase = phase


class Answered(SystemExit):
    """A help or a version was asked for, and nothing else is to be done: ``answer`` has it."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(0)
        self.answer = answer


class HelpFormatter(argparse.HelpFormatter):
    """Descriptions are wrapped. Examples, which are texts of several lines, stay as they are written if they fit."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if "\n" not in text.strip():
            return super()._fill_text(text, width, indent)
        return textwrap.indent(fitted(text, width - len(indent)), indent)


class Parser(argparse.ArgumentParser):
    """Raises what is wrong as :class:`CommandLineError` instead of printing it and ending the process.

    It knows the options that every command has, before a command or behind it, and no abbreviations.
    """

    first_phase: str | None = None
    """The first milestone of a command that has milestones."""
    failed_code: ExitCode = ExitCode.FAILED
    """What a command ends with that has failed: another code than 1 where that is an answer of its own."""
    hands_on_words: bool = False
    """Whether the words behind ``--`` are for a program that the command starts: they are ``words`` of its options."""

    def __init__(self, **settings: Any) -> None:  # noqa: ANN401 - argparse's own
        super().__init__(**settings, formatter_class=HelpFormatter, allow_abbrev=False)
        unless_given_before = argparse.SUPPRESS  # the main parser's namespace has the defaults, see parse()
        self.add_argument(
            JSON_OPTION, action="store_true", default=unless_given_before,
            help="print one JSON object on stdout, and text on stderr",
        )  # fmt: skip
        how_much = self.add_mutually_exclusive_group()
        how_much.add_argument(
            "-q", "--quiet", action="store_true", default=unless_given_before, help="only the result, and what is wrong"
        )
        how_much.add_argument(
            "-v", "--verbose", action="store_true", default=unless_given_before, help="say more, where there is more"
        )

    def error(self, message: str) -> NoReturn:
        """:raises CommandLineError: always."""
        raise CommandLineError(self.prog, message.removeprefix("argument "), self.first_phase)

    def refuse_unknown(self, word: str) -> NoReturn:
        """:raises CommandLineError: always: ``word`` is none that the command knows."""
        if not word.startswith("-"):
            self.error(f"{word} is a word too many")
        near = nearest(word.partition("=")[0].lstrip("-"), self.long_options)
        self.error(f"there is no option {word}{did_you_mean(near and f'--{near}')}")

    def refuse_no_command(self) -> NoReturn:
        """:raises CommandLineError: always: a command of this one's has to be given."""
        commands = [
            name for action in self._actions if action.nargs == argparse.PARSER for name in action.choices or ()
        ]
        self.error(f"give a command, {_listed(commands)}; '{self.prog} --help' says what each does")

    def print_help(self, _file: object = None) -> NoReturn:
        """:raises Answered: always."""
        text = self.format_help()
        raise Answered(Answer({"help": text}, listing=text.rstrip("\n")))

    def parse_known_args(  # type: ignore[override]  # argparse's takes namespaces of any type
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """As argparse does, but an option that there is not is told before a word that is missing."""
        try:
            return super().parse_known_args(args, namespace)
        except CommandLineError as error:
            unknown = [word for word in self._own(args or ()) if _OPTION.fullmatch(word) and not self._knows(word)]
            if unknown and error.command == self.prog:
                self.refuse_unknown(unknown[0])
            raise

    def _own(self, words: Sequence[str]) -> Iterator[str]:
        """Words that are neither behind a command's name nor behind --, where they are another's."""
        return takewhile(lambda word: word != "--" and (self._subparsers is None or word.startswith("-")), words)

    def command(self, words: Sequence[str]) -> "Parser | None":
        """The parser of the command that words begin with."""
        name = next((word for word in words if not word.startswith("-")), None)
        commands = (action.choices for action in self._actions if action.nargs == argparse.PARSER)
        return next((choices[name] for choices in commands if isinstance(choices, dict) and name in choices), None)

    @property
    def long_options(self) -> list[str]:
        """The names of its options, without their dashes."""
        return [option.removeprefix("--") for option in self._option_string_actions if option.startswith("--")]

    def _knows(self, option: str) -> bool:
        known = self._option_string_actions
        return option.partition("=")[0] in known or (option[1] != "-" and option[:2] in known)

    def _get_value(self, action: argparse.Action, arg_string: str) -> object:
        if action.choices is not None and action.nargs != argparse.PARSER:
            self._check_value(action, arg_string)
        try:
            return super()._get_value(action, arg_string)
        except argparse.ArgumentError as error:
            raise _wrong(action, arg_string, error.message) from error

    def _check_value(self, action: argparse.Action, value: object) -> None:
        if action.choices is None or str(value) in map(str, action.choices):
            return
        choices = [str(choice) for choice in action.choices]
        answer = f"choose {_listed(choices)}{did_you_mean(nearest(str(value), choices, AMONG_FEW))}"
        if action.nargs == argparse.PARSER:
            raise argparse.ArgumentError(None, f"there is no command {value}: {answer}")
        raise _wrong(action, str(value), answer)


def add_command(
    commands: Commands,
    name: str,
    run: Run,
    *,
    summary: str,
    description: str,
    example: str,
    exit_codes: str = _EXIT_CODES,
) -> Parser:
    """Add a command with the options that all commands have; what is returned takes its own.

    ``summary`` is its line in the list of commands, ``exit_codes`` what its help says of those. It sets ``run``, which
    :func:`fadump.cli.main` calls.
    """
    parser = commands.add_parser(
        name, help=summary, description=description, epilog=f"{example.rstrip()}\n\n{exit_codes}"
    )
    parser.set_defaults(run=run, parser=parser)
    return parser


def add_group(commands: Commands, name: str, *, summary: str, description: str, example: str) -> Commands:
    """Add a command that has commands of its own, which are added to what is returned."""
    parser = commands.add_parser(
        name, help=summary, description=description, epilog=f"{example.rstrip()}\n\n{_EXIT_CODES}"
    )
    parser.set_defaults(run=None, parser=parser)
    return parser.add_subparsers(metavar="COMMAND", required=False)


def parse(parser: Parser, words: Sequence[str]) -> argparse.Namespace:
    """The options that words stand for; ``run`` of them is the command.

    :raises CommandLineError: a word is wrong, or one is missing.
    """
    command, handed_on = parser.command(words), None
    if command is not None and command.hands_on_words:
        at = words.index("--") if "--" in words else len(words)
        words, handed_on = words[:at], list(words[at + 1 :])
    options, unknown = parser.parse_known_args(words, argparse.Namespace(json=False, quiet=False, verbose=False))
    if handed_on is not None:
        options.words = handed_on
    for word in unknown:
        if word != "--":
            options.parser.refuse_unknown(word)
    if options.run is None:
        options.parser.refuse_no_command()
    if options.quiet and options.verbose:  # one before the command, one behind it
        options.parser.error("-v/--verbose: not allowed with argument -q/--quiet")
    return options


def wants_json(words: Sequence[str]) -> bool:
    """Whether an object is wanted, though the words may make no sense otherwise. Behind -- they are another's."""
    ours = words[: words.index("--")] if "--" in words else words
    return JSON_OPTION in ours


def did_you_mean(near: str | None) -> str:
    """The end of a sentence about a wrong word, where one is like it."""
    return f"; did you mean {near}?" if near else ""


def _wrong(action: argparse.Action, value: str, sentence: str) -> argparse.ArgumentError:
    name = "/".join(action.option_strings) or action.metavar or action.dest
    told = sentence if sentence.startswith(repr(value)) else f"{value or repr(value)}: {sentence}"
    return argparse.ArgumentError(None, f"{name} {told}")


def _listed(words: Sequence[str]) -> str:
    return " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))
