"""``fadump version`` and ``fadump --version``: which version this is."""

import argparse
from typing import NoReturn

import fadump
from fadump.cli.output import Answer, Output
from fadump.cli.parser import Answered, Commands, add_command


def add_parser(commands: Commands) -> None:
    """Add the command to the main parser."""
    add_command(
        commands, "version", _version,
        summary="say which version of fadump this is",
        description="Say which version of fadump this is.",
        example="example:\n  fadump version --json",
    )  # fmt: skip


class VersionOption(argparse.Action):
    """``--version``, which ends the parsing."""

    def __call__(self, *_words: object) -> NoReturn:
        """:raises Answered: always."""
        raise Answered(_answer())


def _version(_options: argparse.Namespace, _output: Output) -> Answer:
    return _answer()


def _answer() -> Answer:
    return Answer({"version": fadump.__version__}, listing=f"fadump {fadump.__version__}")
