"""``fadump capture``: save the crash that the firmware has preserved, and go on booting."""

import argparse

from fadump.cli.output import Answer, ExitCode, Output
from fadump.cli.parser import Commands, add_command
from fadump.cli.paths import path
from fadump.given import check_file
from fadump.printable import printable
from fadump.progress import expendable
from fadump.service.capture import capture
from fadump.service.config import read_config
from fadump.service.root import HOST

_EXAMPLE = """example:
  fadump capture                      as fadump-capture.service does it in the boot after a crash
  fadump capture --config mine.toml   with other settings
  fadump capture --saved-in /var/crash
      once another service has saved the dump there: prove that one, release its memory, register again
"""


def add_parser(commands: Commands) -> None:
    """Add the command to the main parser."""
    parser = add_command(
        commands,
        "capture",
        _capture,
        summary="in the boot after a crash: save the dump, release its memory, register again",
        description="Save the dump of the crash before this boot to the first target of the configuration that takes "
        "it, read it back, and give its memory to the running kernel, which registers again: the boot goes on. Nothing "
        "is released before the dump is durable and proven. Exit status 0: saved, released and registered, or there is "
        "no dump; 1: something of that is not so, and what has been said.",
        example=_EXAMPLE,
    )
    parser.add_argument(
        "--config", type=path, metavar="FILE", help=f"the settings (default: {HOST.config}, where there is one)"
    )
    parser.add_argument(
        "--vmcore", type=path, metavar="FILE", help=f"save another dump than {HOST.vmcore}, and release nothing"
    )
    parser.add_argument(
        "--saved-in", type=path, metavar="DIR",
        help="where another service has saved the dump: if it is whole there, it is not saved once more",
    )  # fmt: skip


def _capture(options: argparse.Namespace, _output: Output) -> Answer:
    if options.config is not None:
        check_file("--config", options.config)
    if options.vmcore not in (None, HOST.vmcore):
        check_file("--vmcore", options.vmcore)
    config = read_config(options.config or HOST.config, may_be_missing=options.config is None)
    with expendable():  # a dump is worth more than a word about it
        captured = capture(HOST, config, options.vmcore, options.saved_in)
    return Answer(
        captured.as_json(),
        printable(captured.text()),
        exit_code=ExitCode.DONE if captured.error is None else ExitCode.FAILED,
        error=captured.error,
    )
