"""Completions for a shell: bash's and zsh's are shtab's, fish's are ours, as older versions of shtab have none."""

import argparse
from collections.abc import Callable, Iterator, Mapping

import shtab

from fadump.cli import build_parser
from fadump.cli.described import DIRECTORY, Command, Option, is_path, read_commands


def bash() -> str:
    """Bash's completions."""
    return _by_shtab("bash")


def zsh() -> str:
    """Zsh's completions."""
    return _by_shtab("zsh")


def fish() -> str:
    """Fish's completions."""
    program = read_commands()
    lines = [line for command in program.walk() for line in _fish(command)]
    return "\n".join(["complete -c fadump -f", *lines]) + "\n"


SHELLS: Mapping[str, tuple[str, Callable[[], str]]] = {
    "bash": ("fadump", bash),
    "zsh": ("_fadump", zsh),
    "fish": ("fadump.fish", fish),
}
"""What a shell's file is called, and what makes it."""


def _by_shtab(shell: str) -> str:
    parser = build_parser([])
    _complete_paths(parser)
    completions: str = shtab.complete(parser, shell=shell)
    return completions


def _complete_paths(parser: argparse.ArgumentParser) -> None:
    for action in parser._actions:  # noqa: SLF001 - no other way
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - its type has no other name
            for below in action.choices.values():
                _complete_paths(below)
        elif is_path(action):
            vars(action)["complete"] = shtab.DIRECTORY if action.metavar == DIRECTORY else shtab.FILE


def _fish(command: Command) -> Iterator[str]:
    if command.words:
        here = f"-n '__fish_seen_subcommand_from {command.words[0]}"
        here += "".join(f"; and __fish_seen_subcommand_from {word}" for word in command.words[1:])
    else:
        here = "-n '__fish_use_subcommand"
    below = " ".join(sub.words[-1] for sub in command.commands)
    for sub in command.commands:
        only = "" if not command.words else f"; and not __fish_seen_subcommand_from {below}"
        yield f"complete -c fadump {here}{only}' -a {sub.words[-1]} -d {_quoted(sub.summary)}"
    for option in (*command.options, *command.arguments):
        if option.names or option.choices or option.is_path:
            yield " ".join(["complete -c fadump", f"{here}'", *_fish_option(option)])


def _fish_option(option: Option) -> Iterator[str]:
    for name in option.names:
        yield f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}"
    if option.names and option.takes_value:
        yield "-r" if option.is_path and not option.is_directory else "-x"
    if option.choices:
        yield f"-a {_quoted(' '.join(option.choices))}"
    elif option.is_directory:
        yield "-a '(__fish_complete_directories)'"
    elif option.is_path:
        yield "-F"
    if option.names:
        yield f"-d {_quoted(option.help)}"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
