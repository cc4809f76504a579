"""``fadump version`` and ``fadump --version``: which version this is."""

import argparse
from platform import python_version
from typing import NoReturn

import fadump
from fadump.cli.output import Answer, Output
from fadump.cli.parser import Answered, Commands, add_command

_PACKAGES = ("numpy", "zstandard", "rich")


def add_parser(commands: Commands) -> None:
    """Add the command to the main parser."""
    add_command(
        commands, "version", _version,
        summary="say which version of fadump this is",
        description="Say which version of fadump this is; with -v also what it runs on, and what it packs and unpacks "
        "dumps with.",
        example="example:\n  fadump version\n  fadump version -v",
    )  # fmt: skip


class VersionOption(argparse.Action):
    """``--version``, which ends the parsing."""

    def __call__(self, *_words: object) -> NoReturn:
        """:raises Answered: always."""
        raise Answered(_answer())


def _version(options: argparse.Namespace, _output: Output) -> Answer:
    if not options.verbose:
        return _answer()
    from importlib import metadata  # noqa: PLC0415 - slow to start, and every command imports this module

    from fadump.vmcore.codecs import codec_libraries  # noqa: PLC0415 - likewise, as numpy is

    packages = {name: metadata.version(name) for name in _PACKAGES}
    codecs = codec_libraries()
    answer = _answer()
    lines = [
        answer.listing,
        f"Python {python_version()}, {', '.join(map(' '.join, packages.items()))}",
        *(f"{codec:6} {library or 'not here'}" for codec, library in codecs.items()),
    ]
    json = {**answer.json, "python": python_version(), "packages": packages, "codecs": codecs}
    return Answer(json, listing="\n".join(lines))


def _answer() -> Answer:
    return Answer({"version": fadump.__version__}, listing=f"fadump {fadump.__version__}")
