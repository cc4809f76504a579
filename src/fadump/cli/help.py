"""``fadump help``: what a command does and takes."""

import argparse

from fadump.cli import build_parser
from fadump.cli.output import Answer, Output
from fadump.cli.parser import Answered, Commands, add_command, parse

_EXAMPLE = """example:
  fadump help save            what it does, and the options that it takes
  fadump help kernel build    of a command that has commands
"""


def add_parser(commands: Commands) -> None:
    """Add the command to the main parser."""
    parser = add_command(
        commands, "help", _help,
        summary="say what a command does and takes",
        description="Say what a command does, and which options it takes, as its --help does; or what commands "
        "there are.",
        example=_EXAMPLE,
    )  # fmt: skip
    parser.add_argument("words", nargs="*", metavar="COMMAND", help="which command")


def _help(options: argparse.Namespace, _output: Output) -> Answer:
    try:
        parse(build_parser(options.words), [*options.words, "--help"])
    except Answered as asked:
        return asked.answer
    raise AssertionError("--help is answered by every parser")
