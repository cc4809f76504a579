"""``fadump run``: one whole cycle on a machine."""

import argparse
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from fadump.capture.options import SaveOptions
from fadump.capture.packers import Compression
from fadump.ci.record import NotingRun, Record
from fadump.cli.change_arguments import add_change_arguments
from fadump.cli.ci_arguments import add_ci_arguments, recorded
from fadump.cli.debugging_arguments import add_debugging_arguments, tell_of_port
from fadump.cli.machine_arguments import add_machine_arguments, listed_faults, machine_choices
from fadump.cli.numbers import number
from fadump.cli.offer_arguments import add_offer_arguments, offer
from fadump.cli.output import Answer, ExitCode, Output
from fadump.cli.parser import Commands, add_command
from fadump.cli.paths import path
from fadump.cli.run_view import RunView, different_text, fell_back_text
from fadump.cli.save_arguments import cpus, levels, saved_as_json
from fadump.cli.seat import TerminalSeat, check_interactive, console_beside
from fadump.cli.typed import fadump_command
from fadump.cli.verdict_json import verdict_as_json
from fadump.errors import FadumpError, note_phase
from fadump.kit.kexec import Kexec
from fadump.linux.pages.page_class import DumpLevel
from fadump.look import Look
from fadump.machine.qemu.config import DEFAULT_QEMU
from fadump.observer import CrashBy, Milestone
from fadump.printable import with_others
from fadump.run.console import CONSOLE_LOG, Panics, telling_log
from fadump.run.inputs import check_inputs
from fadump.run.linux_bugs import NO_PANIC_TEXT, LinuxBug, lacks_panic_text
from fadump.run.options import RunOptions, WhichMachine, WhoseFirmware, check_options
from fadump.run.run import JudgedCycle, RunResult, run
from fadump.signals import time_limit

_REAL_LINUX = ("run", "--machine", "qemu")
_EXAMPLE = """example:
  fadump run --memory 4G --cpus 4 --out crash-1
      crashes a model of Linux, and leaves crash-1/vmcore
  fadump run --machine qemu
      the same with real Linux: boots it in QEMU
  git bisect run fadump run --machine qemu --source . --verify --out ~/bisect
      in a kernel's tree: which commit loses the dump? what doesn't build or boot is skipped"""


def add_parser(commands: Commands) -> None:
    """Add the command to the main parser."""
    parser = add_command(
        commands,
        "run",
        _run,
        summary="one whole cycle: register, crash, dump, save, release, register again",
        description="Take one machine through a whole firmware-assisted dump and keep its vmcore.",
        example=_EXAMPLE,
    )
    parser.first_phase = Milestone.POWER_ON
    parser.add_argument(
        "--machine", choices=list(WhichMachine), type=WhichMachine, default=WhichMachine.EMBEDDED, metavar="MACHINE",
        help="what to run on: embedded, a model of Linux, in a second (default); qemu, real Linux",
    )  # fmt: skip
    add_machine_arguments(parser, real_linux_too=True)
    parser.add_argument(
        "--kernel", type=path, help="qemu: a vmlinux, zImage, .deb or .rpm with FADump (default: fadump kernel build)"
    )
    parser.add_argument(
        "--source", type=path, metavar="DIR",
        help="qemu: first build the Linux in this tree, or what has changed, as fadump kernel build --source does",
    )  # fmt: skip
    parser.add_argument("--config", type=path, metavar="FRAGMENT", help="of --source: options on top of our own")
    parser.add_argument("--initrd", type=path, help="qemu: an initramfs for a kernel with modules; ours is added")
    parser.add_argument(
        "--kexec", choices=list(Kexec), type=Kexec, default=Kexec.LOAD, metavar="HOW",
        help="qemu: how petitboot loads Linux: l, as kexec -l (default); s, as kexec -s, which spoils a dump before "
        "Linux 6.15",
    )  # fmt: skip
    parser.add_argument("--qemu", default=DEFAULT_QEMU, help="qemu: which QEMU, or newest (default: %(default)s)")
    parser.add_argument(
        "--firmware", choices=list(WhoseFirmware), type=WhoseFirmware, default=WhoseFirmware.OURS, metavar="WHOSE",
        help="who takes the dump: ours (default), or qemu, QEMU's own FADump, which 10.2 and later have",
    )  # fmt: skip
    parser.add_argument(
        "--strict", nargs="?", choices=list(LinuxBug), type=LinuxBug, const=LinuxBug.ANY, metavar="BUG",
        help="our firmware does what LoPAR says and no more; if a bug of Linux's shows, the run fails: "
        f"any (default), {', '.join(bug for bug in LinuxBug if bug is not LinuxBug.ANY)}",
    )  # fmt: skip
    add_offer_arguments(parser)
    parser.add_argument(
        "--crash-by", choices=list(CrashBy), type=CrashBy, default=CrashBy.SYSRQ, metavar="HOW",
        help="sysrq: Linux crashes itself (default); nmi: a system reset interrupt; platform: without Linux's help; "
        "opal: powernv's own firmware fails (qemu)",
    )  # fmt: skip
    add_change_arguments(parser)
    add_debugging_arguments(parser, only="qemu: ")
    parser.add_argument(
        "--cycles", type=number(1), default=1, help="cycles in a row on one machine (default: %(default)s)"
    )
    parser.add_argument(
        "--interactive", action="store_true",
        help="qemu: be in the guest on this terminal, in a shell before the crash and one before the dump is saved; "
        "leaving it lets the run go on",
    )  # fmt: skip
    parser.add_argument(
        "--verify", action="store_true", help="compare every byte of the dump with the machine at its crash"
    )
    parser.add_argument(
        "--save-level", type=levels, metavar="N[,N...]",
        help="then save the dump without what fadump save --level N leaves out (default: as it is)",
    )  # fmt: skip
    parser.add_argument(
        "--save-compress", type=Compression, choices=list(Compression), metavar="CODEC",
        help="then save the dump packed so: zlib, zstd, lzo, snappy or none (default: as it is)",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=path, default=Path("fadump-run"), help="directory for files (default: %(default)s)"
    )
    add_ci_arguments(parser)


def _run(options: argparse.Namespace, output: Output) -> Answer:
    if (listed := listed_faults(options)) is not None:
        return listed
    return recorded(options, output, options.out, partial(_run_recorded, options, output))


def _run_recorded(options: argparse.Namespace, output: Output, record: Record) -> Answer:
    if options.interactive:
        check_interactive(output)
    terminal = TerminalSeat(output) if options.interactive else None
    look = output.look() if terminal is None else terminal.look(output)
    view = RunView(look, verbose=output.verbose, panic=Panics(options.out / CONSOLE_LOG).new)
    with telling_log(options.out / CONSOLE_LOG), time_limit(options.timeout):
        wanted = run_options(options)
        try:
            check_options(wanted)
            check_inputs(wanted)
        except FadumpError as error:
            note_phase(error, Milestone.POWER_ON)
            raise
        tell_of_port(options, output)
        shown = look.shown("the machine is made ready", among_others=output.verbose)
        with shown if terminal is None else nullcontext():
            result = run(
                wanted,
                NotingRun(view, record),
                console_beside() if output.verbose else None,
                None if terminal is None else terminal.seat,
            )
    RunView(Look(output.stream)).summary(result, quiet=output.quiet)
    if options.machine is WhichMachine.EMBEDDED and not output.quiet:
        print(f"that was a model of Linux; real Linux, in QEMU:  {fadump_command(*_REAL_LINUX)}", file=output.stream)
    for bug in _bugs_of_linux(options, result):
        output.remark(bug)
    for fault in result.never_struck:
        output.remark(str(fault))
    wrong = list(_wrong(options, result))
    return Answer(
        _as_json(options, result),
        exit_code=ExitCode.FAILED if wrong else ExitCode.DONE,
        error=with_others(wrong) if wrong else None,
    )


def run_options(options: argparse.Namespace) -> RunOptions:
    """What these options say."""
    return RunOptions(
        out=options.out,
        machine=options.machine,
        kernel=options.kernel,
        source=options.source,
        config=options.config,
        initrd=options.initrd,
        kexec=options.kexec,
        qemu=options.qemu,
        firmware=options.firmware,
        strict=options.strict is not None,
        offer=offer(options),
        crash_by=options.crash_by,
        changes=tuple(options.changes),
        cycles=options.cycles,
        interactive=options.interactive,
        gdb_port=options.gdb,
        stop_at=options.stop_at,
        verify=options.verify,
        save=_save_options(options),
        **machine_choices(options),
    )


def _wrong(options: argparse.Namespace, result: RunResult) -> Iterator[str]:
    """Sentences about a run that has come to its end."""
    for judged in result.cycles:
        if judged.verdict is not None and not judged.verdict.same:
            yield f"{judged.vmcore}: {different_text(judged.verdict)}"
        if judged.cycle.kdump is not None:
            yield f"{fell_back_text(judged.cycle.kdump)}; kdump has saved {judged.vmcore}"
    yield from _bugs_of_linux(options, result)
    yield from map(str, result.never_struck)


def _bugs_of_linux(options: argparse.Namespace, result: RunResult) -> Iterator[str]:
    """Those that have shown, and fail this run."""
    for judged in result.cycles:
        yield from (str(freed) for freed in judged.freed if options.strict in (LinuxBug.ANY, freed.bug))
        if options.strict in (LinuxBug.ANY, LinuxBug.PANIC_TEXT) and lacks_panic_text(judged.cycle):
            yield NO_PANIC_TEXT


def _save_options(options: argparse.Namespace) -> SaveOptions | None:
    if options.save_level is None and options.save_compress is None:
        return None
    return SaveOptions(
        levels=options.save_level or (DumpLevel(0),),
        compression=options.save_compress or Compression.ZLIB,
        threads=cpus(),
    )


def _as_json(options: argparse.Namespace, result: RunResult) -> dict[str, Any]:
    common = {"machine": options.machine, "platform": options.platform, "vmlinux": _text(result.vmlinux)}
    cycles = [_cycle_as_json(judged) | common for judged in result.cycles]
    last = dict(cycles[-1])
    if options.fault:
        last["never_struck"] = [asdict(fault) for fault in result.never_struck]
    if len(cycles) > 1:
        last |= {"cycles": cycles, "result": last["result"] if result.good else "different"}
    return last


def _cycle_as_json(judged: JudgedCycle) -> dict[str, Any]:
    cycle = judged.cycle
    shown: dict[str, Any] = {
        "result": judged.result,
        "kernel_release": cycle.kernel_release,
        "vmcore": str(judged.vmcore),
        "vmcore_bytes": cycle.vmcore_bytes,
        "cpus": cycle.cpus,
        "changes": [str(change) for change in cycle.changes],
        "boot_memory_bytes": cycle.boot_memory_bytes,
        "reserved_bytes": cycle.reserved_bytes,
        "memory_released": cycle.memory_released,
        "panic_text": None if cycle.trigger is None else cycle.trigger.message,
        "freed_by_linux": [asdict(freed) for freed in judged.freed],
        "reboots": cycle.reboots,
        "timeline": [
            {"event": milestone, "at_seconds": round(at_seconds, 3)} for milestone, at_seconds in cycle.timeline
        ],
    }
    if (kdump := cycle.kdump) is not None:
        shown["phase"] = Milestone.REGISTERED
        shown["kdump"] = {
            "start": kdump.area.start,
            "reserved_bytes": kdump.area.size_bytes,
            "reason": kdump.reason,
        }
    if judged.verdict is not None:
        shown["verified"] = verdict_as_json(judged.verdict)
    if judged.saved is not None:
        shown["saved"] = saved_as_json(judged.saved)
    return shown


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
