"""``fadump completion``: what a shell needs to complete fadump's words."""

import argparse

from fadump.cli.completions import SHELLS
from fadump.cli.output import Answer, Output
from fadump.cli.parser import Commands, add_command

_EXAMPLE = """example:
  fadump completion bash > ~/.local/share/bash-completion/completions/fadump
  fadump completion zsh > ~/.zfunc/_fadump       where fpath has ~/.zfunc, before compinit is called
  fadump completion fish > ~/.config/fish/completions/fadump.fish

Debian's package has all three where the shells look for them."""


def add_parser(commands: Commands) -> None:
    """Add the command to the main parser."""
    parser = add_command(
        commands, "completion", _completion,
        summary="print what bash, zsh or fish needs to complete commands, options and files",
        description="Print a script with which a shell completes commands, options, their values and files.",
        example=_EXAMPLE,
    )  # fmt: skip
    parser.add_argument("shell", choices=list(SHELLS), metavar="SHELL", help="bash, zsh or fish")


def _completion(options: argparse.Namespace, _output: Output) -> Answer:
    _name, completions = SHELLS[options.shell]
    script = completions()
    return Answer({"shell": options.shell, "script": script}, listing=script.rstrip("\n"))
