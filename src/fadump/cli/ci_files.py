"""The files that a CI keeps of a command: JUnit's XML and the artifacts, written however the command ends."""

import argparse
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import fadump
from fadump.ci.artifacts import Text, check_artifacts, dumps_of, write_artifacts
from fadump.ci.cases import cases_of, suite_of
from fadump.ci.junit import Suite, encode
from fadump.ci.record import Ending, Record
from fadump.cli.failure import failure_of
from fadump.cli.log_view import Style
from fadump.cli.output import Answer, ExitCode, Output, answer_object, failure_object
from fadump.errors import FadumpError, UsageError
from fadump.given import is_same_file, write_whole, writing
from fadump.linux.system import UNREADABLE_KERNEL, open_system
from fadump.run.console import CONSOLE_LOG
from fadump.signals import EndedBySignal, ignoring


def recorded_in_files(
    options: argparse.Namespace, output: Output, record: Record, work: Callable[[Record], Answer]
) -> Answer:
    """Do a command's work, and write the files that its options ask for."""
    out = record.out
    if options.junit is not None:
        check_junit(options.junit)
    if options.artifacts is not None:
        if is_same_file(options.artifacts, out):
            raise UsageError("--artifacts is what is copied out of --out: name two directories")
        check_artifacts(options.artifacts)
    try:
        answer = work(record)
    except (FadumpError, OSError, EndedBySignal) as error:
        failure = failure_of(error, options.parser.first_phase)
        if failure.exit_code != ExitCode.USAGE:
            console = None if failure.console is None else Path(failure.console)
            ending = Ending(failure_object(failure), failure.exit_code, _seconds(record), console)
            with ignoring(), _remarked(output):
                _write(options, record, ending)
        raise
    console = out / CONSOLE_LOG
    seconds = _seconds(record)
    ending = Ending(answer_object(answer), answer.exit_code, seconds, console if console.is_file() else None)
    _write(options, record, ending)
    return answer


def check_junit(file: Path) -> None:
    """See that a file can be written there, before anything is started. One of an earlier command is removed.

    :raises SetupError: it can't.
    :raises DiskError: its disk is full or has failed.
    """
    with writing("--junit", file):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.open("ab").close()
        if file.is_file():  # and no pipe or device
            file.unlink()


def write_junit(file: Path, suite: Suite) -> None:
    """Write a suite.

    :raises SetupError: it can't be written.
    :raises DiskError: its disk is full or has failed.
    """
    write_whole("--junit", file, encode(suite), 0o666)


def _write(options: argparse.Namespace, record: Record, ending: Ending) -> None:
    if options.junit is not None:
        write_junit(options.junit, suite_of(record, ending))
    if options.artifacts is not None:
        cases, texts = cases_of(record, ending), list(_logs(record, ending))
        write_artifacts(options.artifacts, record, ending, cases, texts, _versions(), with_dump=options.with_dump)


def _logs(record: Record, ending: Ending) -> Iterator[Text]:
    """The crashed kernel's log of each dump, as far as it can be read."""
    style = Style(None, coloured=False)
    for dump in dumps_of(record, ending):
        lines: list[str] = []
        try:
            with open_system([dump]) as system:
                for log_record in system.log():
                    lines += style.lines(log_record)
        except UNREADABLE_KERNEL as error:
            lines.append(f"(the log ends here: {error})")
        number = dump.name.removeprefix("vmcore") if dump.name.startswith("vmcore.") else ""
        name = f"dmesg{number}.txt"
        yield Text(name, f"the crashed kernel's log, out of {dump.name}", "\n".join([*lines, ""]))


def _versions() -> dict[str, object]:
    return {"fadump": fadump.__version__, "python": platform.python_version(), "host": platform.platform()}


def _seconds(record: Record) -> float:
    return time.monotonic() - record.started


@contextmanager
def _remarked(output: Output) -> Iterator[None]:
    """What goes wrong here must not hide what went wrong before."""
    try:
        yield
    except (FadumpError, OSError) as error:
        output.remark(str(error))
