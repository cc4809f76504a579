"""Man pages, man(7): one for each command."""

import re

from fadump.cli.described import Command, Option


def man_page(command: Command, program: Command, version: str) -> str:
    """The page of a command of ``program``."""
    parts = [
        f'.TH {command.name.upper()} 1 "" "fadump {version}" "User Commands"',
        ".nh",
        *(".SH NAME", rf"{command.name} \- {_escaped(command.summary.removesuffix('.'))}"),
        *(".SH SYNOPSIS", *_as_it_stands(command.usage)),
        *(".SH DESCRIPTION", _escaped(command.description)),
    ]
    if command.commands:
        parts += [".SH COMMANDS"]
        for below in command.commands:
            parts += [".TP", rf"\fB{_escaped(' '.join(('fadump', *below.words)))}\fR", _escaped(below.summary)]
    if command.arguments:
        parts += [".SH ARGUMENTS", *(line for option in command.arguments for line in _option(option))]
    parts += [".SH OPTIONS", *(line for option in command.options for line in _option(option))]
    if command.examples:
        parts += [".SH EXAMPLES", *_as_it_stands(command.examples)]
    parts += [".SH EXIT STATUS", *_as_it_stands(program.exit_codes)]
    above = [] if command is program else [program.name]
    others = [*above, *(below.name for below in command.commands)]
    parts += [".SH SEE ALSO", ",\n".join(rf"\fB{_escaped(name)}\fR(1)" for name in others)]
    return "\n".join(parts) + "\n"


def _option(option: Option) -> list[str]:
    return [".TP", rf"\fB{_escaped(option.shown)}\fR", _escaped(option.help)]


def _as_it_stands(text: str) -> list[str]:
    return [".nf", *(_escaped(line) for line in text.rstrip("\n").splitlines()), ".fi"]


def _escaped(text: str) -> str:
    r"""Text as roff takes it: its own characters, and a dot or a quote that would begin a request."""
    text = (
        text.replace("\\", r"\e").replace("-", r"\-").replace("'", r"\(aq").replace("^", r"\(ha").replace("~", r"\(ti")
    )
    return re.sub(r"^(?=\.)", r"\&", text, flags=re.MULTILINE)
