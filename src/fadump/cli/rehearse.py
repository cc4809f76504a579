"""``fadump rehearse``: would this system's next crash be saved? It is crashed, on a copy, and its dump is looked at."""

import argparse
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from fadump.ci.record import Noting, Record
from fadump.cli.ci_arguments import add_ci_arguments, recorded
from fadump.cli.debugging_arguments import tell_of_port
from fadump.cli.numbers import factor
from fadump.cli.output import Answer, ExitCode, Output, console_text
from fadump.cli.parser import Commands, add_command
from fadump.cli.paths import path
from fadump.cli.seat import console_beside
from fadump.cli.system_arguments import add_firmware_arguments, add_system_arguments, system_with_firmware
from fadump.cli.typed import fadump_command
from fadump.cli.verdict_json import verdict_as_json
from fadump.errors import SetupError
from fadump.look import Look
from fadump.observer import CrashBy, Milestone
from fadump.printable import counted, printable, with_others
from fadump.progress import binary_size
from fadump.run.console import CONSOLE_LOG, telling_log
from fadump.run.linux_bugs import freed_by_linux
from fadump.signals import time_limit
from fadump.systems.console import READY
from fadump.systems.events import EventLog
from fadump.systems.fallback import Fallback
from fadump.systems.rehearsal import Patience, Service, Watched
from fadump.systems.rehearse import (
    DUMP_DIRECTORY,
    RehearsalOptions,
    RehearsalResult,
    check_rehearsal,
    free_directory,
    rehearse,
)

NOT_TRIED = "not-tried"
"""The result of a rehearsal for which something is missing."""
_EXAMPLE = """examples:
  fadump rehearse --disk debian.img --verify
      boot it by its own boot loader, crash it, and compare what it has saved with the machine at its crash
  fadump rehearse --kernel vmlinux --disk root.img --json \\
      --cmdline 'console=hvc0 root=/dev/vda fadump=on'"""
_SERVICES = {
    Service.RELEASED: "its memory was given back, without a second reboot",
    Service.REBOOTED: "the system rebooted once more",
    Service.NOTHING: "the memory of the dump was not given back",
}
_AHEAD = {
    Milestone.POWER_ON: "the system comes into production, and registers",
    Milestone.REGISTERED: "the system is crashed",
    Milestone.CRASH: "the firmware copies memory aside",
    Milestone.PRESERVED: "the machine is reset, and enters a kernel",
    Milestone.CAPTURE_BOOT: "the system saves its dump, and comes into production again",
    Milestone.PRODUCTION: "the system powers off, and its dump is looked for",
}
"""What is waited for once something is reached."""


class _RehearsalView(EventLog):
    """Tells what the firmware sees, and what is waited for."""

    def __init__(self, look: Look, *, calls: bool) -> None:
        super().__init__(lambda event: event.tell(look), calls=calls)
        self._look = look

    def milestone(self, milestone: Milestone, at_seconds: float) -> None:
        super().milestone(milestone, at_seconds)
        self._look.ahead(_AHEAD[milestone])


def add_parser(commands: Commands) -> None:
    """Add the command to the main parser."""
    parser = add_command(
        commands,
        "rehearse",
        _rehearse,
        summary="crash your system unattended, on a copy: is its dump saved, whole, and what the machine was?",
        description="Boot a system, wait until it is in production and has registered, crash it, and watch what its "
        "firmware, kernel and user space do. The verdict is by the dump on its disk. Nothing is written to the images.",
        example=_EXAMPLE,
    )
    parser.first_phase = Milestone.POWER_ON
    add_system_arguments(parser)
    add_firmware_arguments(parser)
    parser.add_argument(
        "--crash-by", choices=list(CrashBy), type=CrashBy, default=CrashBy.NMI, metavar="HOW",
        help="nmi: a system reset interrupt (default); platform: without the system's help; opal: powernv's own "
        "firmware fails; sysrq: typed at a prompt of root's on the console",
    )  # fmt: skip
    parser.add_argument(
        "--verify", action="store_true", help="compare every page of the dump, and its registers, with the crash"
    )
    parser.add_argument(
        "--dumps", default=DUMP_DIRECTORY, metavar="DIR", help="where the system saves dumps (default: %(default)s)"
    )
    parser.add_argument(
        "--ready", default=READY, metavar="REGEX",
        help="what the end of the console looks like in production (default: a login or shell prompt)",
    )  # fmt: skip
    parser.add_argument(
        "--patience", type=factor, default=1.0, metavar="FACTOR", help="wait so much longer for each step (default: 1)"
    )
    parser.add_argument("--out", type=path, help="directory for console.log and the dump (default: fadump-rehearsal-N)")
    add_ci_arguments(parser)


def _rehearse(options: argparse.Namespace, output: Output) -> Answer:
    out = options.out or free_directory()
    return recorded(options, output, out, partial(_rehearse_recorded, options, output))


def _rehearse_recorded(options: argparse.Namespace, output: Output, record: Record) -> Answer:
    out, console = record.out, record.out / CONSOLE_LOG
    rehearsal = RehearsalOptions(
        vm=system_with_firmware(options),
        out=out,
        crash_by=options.crash_by,
        verify=options.verify,
        dump_directory=options.dumps,
        ready=options.ready,
        patience=Patience().scaled(options.patience),
    )
    look = output.look()
    view = _RehearsalView(look, calls=output.verbose)
    try:
        with telling_log(console), time_limit(options.timeout):
            check_rehearsal(rehearsal)
            tell_of_port(options, output)
            with look.shown("the machine is made ready", among_others=output.verbose):
                result = rehearse(rehearsal, Noting(view, record), console_beside() if output.verbose else None)
    except SetupError as error:
        error.result = NOT_TRIED
        raise
    freed = freed_by_linux(result.watched.dump, None, console)
    errors = [] if result.error is None else [result.error]
    errors += [str(page) for page in freed if options.strict]
    errors += map(str, result.never_struck)
    for fault in result.never_struck:
        output.remark(str(fault))
    return Answer(
        {**_as_json(result, rehearsal.vm.memory_bytes), "freed_by_linux": [asdict(page) for page in freed]},
        text=printable(_text(result, console)),
        exit_code=ExitCode.FAILED if errors else ExitCode.DONE,
        error=with_others(errors) if errors else None,
    )


def _as_json(result: RehearsalResult, memory_bytes: int) -> dict[str, Any]:
    watched, judged = result.watched, result.judged
    shown: dict[str, Any] = {
        "result": result.outcome,
        "phase": result.phase,
        "service": watched.service,
        "resets": result.resets,
        "timeline": [{"event": event, "at_seconds": round(at_seconds, 3)} for event, at_seconds in result.timeline],
        "unregistered": [asdict(window) for window in watched.windows],
        "more_unregistered": {"times": watched.more_windows, "seconds": round(watched.more_seconds, 3)},
        "warnings": _warnings(watched),
        "memory": {
            "guest_bytes": memory_bytes,
            "reserved_bytes": watched.reserved_bytes,
            "boot_memory_bytes": None if watched.dump is None else watched.dump.boot_memory.size_bytes,
            "available_bytes": watched.available_bytes,
            "least_available_bytes": result.least_available_bytes,
            "touched_bytes": result.touched_bytes,
        },
        "never_struck": [asdict(fault) for fault in result.never_struck],
        "dump": None,
        "kdump": None if result.fallback is None else _fallback_as_json(result.fallback),
    }
    if judged is not None:
        shown["dump"] = {
            "path": judged.dump.path,
            "copy": str(judged.dump.copy),
            "bytes": judged.dump.size_bytes,
            "check": "damaged" if judged.damage else "whole",
        }
        if judged.verdict is not None:
            shown["verified"] = verdict_as_json(judged.verdict)
    return shown


def _fallback_as_json(fallback: Fallback) -> dict[str, Any]:
    return {"reserved_bytes": fallback.reserved_bytes, "reason": fallback.reason, "started": fallback.started}


def _warnings(watched: Watched) -> list[str]:
    warnings = [*watched.warnings, *(f"out of memory: {line}" for line in watched.out_of_memory)]
    if watched.more_out_of_memory:
        warnings.append(f"out of memory: {counted(watched.more_out_of_memory, 'more line')}")
    return warnings


def _windows(watched: Watched) -> list[str]:
    windows = watched.windows
    if not windows:
        return []
    seconds = sum(window.end - window.start for window in windows) + watched.more_seconds
    times = counted(len(windows) + watched.more_windows, "time")
    lines = [f"{times} without a registration, {seconds:.2f} s in all: a crash would be lost"]
    for window in windows:
        seconds = window.end - window.start
        lines.append(f"  in boot {window.boot}, at {window.start:.2f} s for {seconds:.2f} s, after: {window.console}")
    if watched.more_windows:
        lines.append(f"  and {counted(watched.more_windows, 'more time')}")
    return lines


def _text(result: RehearsalResult, console: Path) -> str:
    lines = ["", *_windows(result.watched)]
    lines += [f"warning: {warning}" for warning in _warnings(result.watched)]
    judged = result.judged
    if judged is not None and judged.verdict is not None:
        memory = judged.verdict.memory
        lines.append(
            f"verified: {memory.bytes_compared:,} bytes of the dump compared with the machine at its crash, "
            f"{memory.bytes_different:,} different"
        )
        if judged.verdict.remark is not None:
            lines.append(f"remark: {judged.verdict.remark}")
    if result.error is not None:
        lines.append(f"{result.outcome}: {result.error}")
    elif judged is not None and result.watched.service is not None:
        lines.append(
            f"saved: {judged.dump.path}, {binary_size(judged.dump.size_bytes)}; {_SERVICES[result.watched.service]}"
        )
    if judged is None:
        return "\n".join([*lines, console_text(console)])
    return "\n".join(
        [*lines, f"{console_text(console)}; look at the dump:  {fadump_command('show', judged.dump.copy)}"]
    )
