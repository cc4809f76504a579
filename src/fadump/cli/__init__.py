"""The ``fadump`` command. One module per subcommand: it parses, calls and prints.

Only the module of the command that is wanted is imported: all of them take longer than many a command.
"""

import argparse
import errno
import json
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from io import TextIOWrapper
from types import FrameType

import fadump
from fadump.cli.help_text import HelpFormatter
from fadump.errors import FadumpError
from fadump.printable import printable

EXIT_FAILED = 1
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141
EXIT_TERMINATED = 143

_ERRORS_OF_WRITING = (errno.ENOSPC, errno.EDQUOT, errno.EBADF)

_COMMANDS = ("run", "mount", "shell", "save", "show", "dmesg", "check", "plan", "compare", "kernel", "qemu")
"""The modules of this package that have a command of their name, in the order of the help."""
_EXAMPLE = """example:
  fadump run                      crashes a model of Linux, dumps it, and leaves fadump-run/vmcore
  fadump show fadump-run/vmcore   what crashed, when and why
  fadump save --help              what a command takes, with examples"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 done, 1 failed (with one sentence on stderr), 2 wrong usage."""
    _open_standard_files()
    words = list(sys.argv[1:] if arguments is None else arguments)
    options = _parser(words).parse_args(words)
    signal.signal(signal.SIGTERM, _terminate)
    try:
        status = int(options.func(options))
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read our output has had enough, as head does
        _forget_stdout()
        return EXIT_BROKEN_PIPE
    except FadumpError as error:
        return _fail(options, str(error))
    except OSError as error:
        return _fail(options, f"{error.filename or _unnamed(error)}: {error.strerror or error}")
    except KeyboardInterrupt:
        print("fadump: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    return status


def _unnamed(error: OSError) -> str:
    """The file that an error doesn't name: of those that are written to, only stdout has no name."""
    return "standard output" if error.errno in _ERRORS_OF_WRITING else "the system"


def _fail(options: argparse.Namespace, sentence: str) -> int:
    print(printable(f"fadump: {sentence}"), file=sys.stderr)
    try:
        if getattr(options, "json", False):
            print(json.dumps({"result": "failed", "error": sentence}))
        sys.stdout.flush()
    except OSError:  # what has failed may be stdout itself
        _forget_stdout()
    return EXIT_FAILED


def _forget_stdout() -> None:
    """What is still to be written to it must not fail once more when Python ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _open_standard_files() -> None:
    """Let no file of ours take the place of one that is closed. To a closed stdout nothing can be written.

    What a terminal has no letter for, such as one of the crashed kernel's log, is shown as an escape.
    """
    for fd, flags in enumerate((os.O_RDONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, flags)  # gets the lowest number that is free
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.stderr = sys.stderr or os.fdopen(2, "w", buffering=1, closefd=False)


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    """The parser for these words: it knows the command that they begin with, or all."""
    parser = argparse.ArgumentParser(
        prog="fadump",
        description="Linux's Firmware-Assisted Dump, whole: firmware, machine and dump tools.",
        epilog=_EXAMPLE,
        formatter_class=HelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"fadump {fadump.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name in words[:1] if words and words[0] in _COMMANDS else _COMMANDS:
        import_module(f"fadump.cli.{name}").add_parser(commands)
    return parser


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    raise SystemExit(EXIT_TERMINATED)  # unwinds like Ctrl-C: nothing is left behind
