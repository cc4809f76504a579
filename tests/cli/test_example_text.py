"""Examples of a command's help where a terminal is too narrow for them, and where it isn't."""

import argparse

import pytest

from fadump.cli import COMMANDS, build_parser
from fadump.cli.example_text import fitted

WIDE = """\
example:
  fadump run --memory 4G                  a crash
                                          of a larger machine
  fadump run --memory 4G --cpus 4 --save-level 31
  word   what it means, in
         more than a line

exit codes:
  0      done
"""
NARROW = """\
example:
  fadump run --memory 4G
      a crash
      of a larger machine
  fadump run --memory 4G --cpus 4 --save-level 31
  word   what it means,
         in
         more than a line

exit codes:
  0      done
"""


def test_what_a_command_does_stands_below_it_and_the_command_stays_whole():
    assert fitted(WIDE, 25) == NARROW


def test_what_fits_is_as_it_was_written():
    assert fitted(WIDE, 61) == WIDE


def parsers(parser):
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from parsers(command)


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_no_line_of_a_help_is_wider_than_80_columns(monkeypatch, name):
    monkeypatch.setenv("COLUMNS", "80")
    helps = [parser.format_help() for parser in parsers(build_parser([name]))]
    assert [line for text in helps for line in text.splitlines() if len(line) > 80] == []
