"""The ``fadump`` command. One module per subcommand: it parses, calls and prints."""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType

from fadump.cli import check, dmesg, kernel, plan, qemu, run, save, show
from fadump.errors import FadumpError

EXIT_FAILED = 1
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141
EXIT_TERMINATED = 143


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 done, 1 failed (with one sentence on stderr), 2 wrong usage."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _terminate)
    try:
        status = int(options.func(options))
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read our output has had enough, as head does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_BROKEN_PIPE
    except FadumpError as error:
        print(f"fadump: {error}", file=sys.stderr)
        return EXIT_FAILED
    except OSError as error:
        print(f"fadump: {error.filename or 'the system'}: {error.strerror}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        print("fadump: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fadump", description="Linux's Firmware-Assisted Dump, whole: firmware, machine and dump tools."
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    run.add_parser(commands)
    save.add_parser(commands)
    show.add_parser(commands)
    dmesg.add_parser(commands)
    check.add_parser(commands)
    plan.add_parser(commands)
    kernel.add_parser(commands)
    qemu.add_parser(commands)
    return parser


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    raise SystemExit(EXIT_TERMINATED)  # unwinds like Ctrl-C: nothing is left behind
