"""``fadump size``: how much boot memory a system needs to save its dump: measured, and predicted from that."""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from fadump.abi.platform import Platform
from fadump.cli.numbers import factor, whole_number
from fadump.cli.output import Answer, ExitCode, Output
from fadump.cli.parser import Commands, add_command
from fadump.cli.paths import path
from fadump.cli.sizes import size
from fadump.cli.system_arguments import add_system_arguments, system_options
from fadump.errors import SetupError, UsageError
from fadump.given import check_directory
from fadump.kernel.plan.boot_memory import LARGEST_SHARE, default_bytes
from fadump.kernel.plan.need import CaptureNeed, CaptureSystem, capture_need, recommended_bytes
from fadump.kernel.plan.recommended import recommendations
from fadump.kernel.traits import KIB, MIB, PAGE_BYTES, least_boot_memory_bytes
from fadump.printable import printable
from fadump.progress import binary_size, duration
from fadump.service.doctor.files import SystemFiles
from fadump.service.doctor.machine import look_at
from fadump.service.doctor.need import capture_system
from fadump.signals import time_limit
from fadump.systems.console import READY
from fadump.systems.rehearsal import Patience
from fadump.systems.rehearse import DUMP_DIRECTORY, RehearsalOptions, free_directory
from fadump.systems.size.measure import Measurement, SizeError, check_size, measure, measured_system
from fadump.systems.size.probe import Probe

NOT_TRIED = "not-tried"
_NAME = "fadump-size"
_ADVICE = "--root DIR predicts for what was copied from one, and --disk FILE measures a system anywhere"
_EXAMPLE = """examples:
  fadump size --disk debian.img
      crash it again and again, on a copy, with more or less boot memory
  fadump size --disk debian.img --memory 4G --for 64G --for 160G --for-cpus 64
      and say what a larger machine would need
  fadump size
      what this Power system needs, by its own numbers"""


@dataclass(frozen=True, slots=True)
class _Size:
    """What a machine with so much RAM and so many CPUs is to be given, and why."""

    platform: Platform
    memory_bytes: int
    cpus: int
    need: CaptureNeed
    needed_bytes: int
    page_bytes: int
    is_of_other_pages: bool = False

    @property
    def minimum_bytes(self) -> int:
        return max(self.needed_bytes, least_boot_memory_bytes(self.platform))

    @property
    def recommended_bytes(self) -> int | None:
        return recommended_bytes(self.platform, self.needed_bytes, self.memory_bytes)

    @property
    def crashkernel(self) -> str | None:
        size_bytes = self.recommended_bytes
        return None if size_bytes is None else f"{size_bytes // MIB}M"


def add_parser(commands: Commands) -> None:
    """Add the command to the main parser."""
    parser = add_command(
        commands,
        "size",
        _size,
        summary="how much boot memory your system needs to save its dump: measured by crashes, predicted from that",
        description="Find the least boot memory with which a system saves its dump: crash it, on a copy, with more and "
        "less, until the edge is known. Nothing is written to the images. Without --disk, predict it for this Power "
        "system.",
        example=_EXAMPLE,
    )
    add_system_arguments(parser)
    parser.add_argument(
        "--for", type=size, action="append", default=[], dest="for_memory", metavar="SIZE",
        help="also predict it for a machine with so much memory; once for each",
    )  # fmt: skip
    parser.add_argument(
        "--for-cpus", type=whole_number, metavar="COUNT", help="the CPUs of those machines (default: as measured)"
    )
    parser.add_argument(
        "--for-page-size", choices=list(PAGE_BYTES), help="their kernel's page size (default: as measured)"
    )
    parser.add_argument(
        "--dumps", default=DUMP_DIRECTORY, metavar="DIR", help="where the system saves dumps (default: %(default)s)"
    )
    parser.add_argument(
        "--patience", type=factor, default=1.0, metavar="FACTOR", help="wait so much longer for each step (default: 1)"
    )
    parser.add_argument(
        "--root",
        type=path,
        metavar="DIR",
        help="without --disk: predict for the system whose files are in DIR, as "
        "doctor looks at it (default: this system)",
    )
    parser.add_argument("--out", type=path, help=f"directory for each try's console.log (default: {_NAME}-N)")


def _size(options: argparse.Namespace, output: Output) -> Answer:
    least_bytes = least_boot_memory_bytes(options.platform) * LARGEST_SHARE
    if any(memory_bytes < least_bytes for memory_bytes in options.for_memory):
        raise UsageError(f"--for must be {_mib(least_bytes)} or more: crashkernel= gets no more than a quarter of RAM")
    if options.disk:
        if options.root is not None:
            raise UsageError("give --disk to measure a system, or --root to predict by a system's files")
        return _measured(options, output)
    if options.kernel is not None:
        raise UsageError("give the system's --disk: it is measured by the dumps that it saves there")
    return _predicted(options)


def _measured(options: argparse.Namespace, output: Output) -> Answer:
    vm = system_options(options)
    rehearsal = RehearsalOptions(
        vm=vm,
        out=options.out or free_directory(_NAME),
        dump_directory=options.dumps,
        ready=READY,
        patience=Patience().scaled(options.patience),
    )
    try:
        with time_limit(options.timeout):
            check_size(rehearsal)
            measured = measure(rehearsal, lambda probe: _tell(probe, output))
    except SetupError as error:
        error.result = NOT_TRIED
        raise
    except SizeError as error:
        return Answer(
            {"result": "failed", "measured": [_probe_as_json(probe) for probe in error.probes]},
            text=printable(f"no size was found: {error}"),
            exit_code=ExitCode.FAILED,
            error=str(error),
        )
    system = measured_system(measured, vm.cpus) or CaptureSystem()
    need = capture_need(system, vm.memory_bytes, vm.cpus)
    return _answer(
        _Size(vm.platform, vm.memory_bytes, vm.cpus, need, measured.needed_bytes, system.page_bytes),
        _others(options, system, vm.platform, vm.cpus),
        measured,
    )


def _predicted(options: argparse.Namespace) -> Answer:
    if options.root is None:
        files = SystemFiles()
    else:
        check_directory("--root", options.root)
        files = SystemFiles(options.root, is_running_system=False)
    machine = look_at(files, _ADVICE)
    platform, ram_bytes = machine.plan.system.platform, machine.plan.system.memory.ram_bytes
    system = capture_system(machine)
    need = capture_need(system, ram_bytes, machine.cpus)
    return _answer(
        _Size(platform, ram_bytes, machine.cpus, need, need.size_bytes, system.page_bytes),
        _others(options, system, platform, machine.cpus),
    )


def _others(options: argparse.Namespace, system: CaptureSystem, platform: Platform, cpus: int) -> list[_Size]:
    page_bytes = PAGE_BYTES[options.for_page_size] if options.for_page_size else system.page_bytes
    other = system.with_pages_of(page_bytes)
    cpus = options.for_cpus or cpus
    needs = [(memory_bytes, capture_need(other, memory_bytes, cpus)) for memory_bytes in options.for_memory]
    return [
        _Size(platform, memory_bytes, cpus, need, need.size_bytes, page_bytes, page_bytes != system.page_bytes)
        for memory_bytes, need in needs
    ]


def _answer(found: _Size, others: Sequence[_Size], measured: Measurement | None = None) -> Answer:
    shown = _size_as_json(found) | {
        "needed_bytes": found.needed_bytes,
        "measured": [] if measured is None else [_probe_as_json(probe) for probe in measured.probes],
        "predicted": [_size_as_json(other) for other in others],
    }
    return Answer({"result": "done"} | shown, text=printable("\n".join(_lines(found, others, measured))))


def _lines(found: _Size, others: Sequence[_Size], measured: Measurement | None) -> Iterator[str]:
    if measured is not None:
        below = measured.edge.most_bytes
        beside = f", {_mib(below)} is not enough" if below else ""
        yield f"measured: {_mib(found.needed_bytes)} of boot memory is enough{beside}"
    yield from _size_lines(found)
    for other in others:
        yield ""
        yield from _size_lines(other)


def _size_lines(found: _Size) -> Iterator[str]:
    floor_bytes = least_boot_memory_bytes(found.platform)
    yield f"{_mib(found.memory_bytes)} of RAM, {found.cpus} CPUs:"
    least = "what it needs"
    if found.minimum_bytes > found.needed_bytes:
        least = (
            f"the least that Linux takes for FADump on {found.platform}; the system needs {_mib(found.needed_bytes)}"
        )
    yield f"  minimum      {_mib(found.minimum_bytes)}: {least}"
    if found.crashkernel is None:
        yield "  recommended  no crashkernel= is enough: Linux lets it have a quarter of RAM"
    elif found.recommended_bytes == floor_bytes:
        yield f"  recommended  crashkernel={found.crashkernel}: the same, which has the margin of a quarter already"
    else:
        yield (
            f"  recommended  crashkernel={found.crashkernel}: a quarter more, in steps of 64 MiB: a capture boot with "
            "less becomes slow before it fails"
        )
    for name, size_bytes in found.need.named():
        if size_bytes:
            yield f"  {binary_size(size_bytes):>11}  for {name}"
    if found.is_of_other_pages:
        yield (
            f"  with pages of {found.page_bytes // KIB} KiB user space was not measured: its share is taken as it is "
            "in a Debian; measure with such a --kernel to be sure"
        )
    yield "  for so much RAM there is without crashkernel=, and recommended by distributions:"
    default = default_bytes(found.platform, found.memory_bytes)
    yield f"  {_mib(default):>11}  Linux (5 % of RAM, in steps of 256 MiB, at least {_mib(floor_bytes)})"
    for table in recommendations(found.memory_bytes):
        row = "no row" if table.size_bytes is None else _mib(table.size_bytes)
        yield f"  {row:>11}  {table.distribution}"


def _tell(probe: Probe, output: Output) -> None:
    what = f"{_mib(probe.boot_memory.size_bytes)} of boot memory: {probe.result}, {duration(probe.seconds)}"
    if probe.available_bytes is not None:
        what += f", {_mib(probe.available_bytes)} left when the capture kernel began"
    if probe.least_available_bytes is not None:
        what += f", {_mib(probe.least_available_bytes)} at the least later"
    if probe.killed:
        what += ", processes were killed for want of memory"
    output.look().say(what)


def _probe_as_json(probe: Probe) -> dict[str, Any]:
    return {
        "memory_bytes": probe.memory_bytes,
        "boot_memory_bytes": probe.boot_memory.size_bytes,
        "crashkernel_bytes": probe.boot_memory.crashkernel_bytes,
        "result": probe.result,
        "seconds": round(probe.seconds, 1),
        "saving_seconds": None if probe.saving_seconds is None else round(probe.saving_seconds, 1),
        "available_bytes": probe.available_bytes,
        "least_available_bytes": probe.least_available_bytes,
        "touched_bytes": probe.touched_bytes,
        "out_of_memory_lines": probe.killed,
        "error": None if probe.error is None else probe.error.splitlines()[0],
    }


def _size_as_json(found: _Size) -> dict[str, Any]:
    return {
        "memory_bytes": found.memory_bytes,
        "cpus": found.cpus,
        "page_bytes": found.page_bytes,
        "minimum_bytes": found.minimum_bytes,
        "recommended_bytes": found.recommended_bytes,
        "recommended_crashkernel": found.crashkernel,
        "model": asdict(found.need),
        "linux_default_bytes": default_bytes(found.platform, found.memory_bytes),
        "distributions": [asdict(table) for table in recommendations(found.memory_bytes)],
    }


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / MIB:.0f} MiB"
