"""``fadump plan``: where a kernel would reserve what, and why."""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from fadump.abi.platform import Platform
from fadump.abi.powernv.hdat import skiboot_memory
from fadump.abi.pseries.hash_table import HPTE_BYTES
from fadump.abi.pseries.register_names import REGISTERS
from fadump.abi.pseries.register_save_area import area_bytes
from fadump.cli.numbers import number
from fadump.cli.output import Answer, Output
from fadump.cli.parser import Commands, add_command
from fadump.cli.paths import path
from fadump.cli.plan_view import loses_dump, plan_lines, warnings_of
from fadump.cli.section_arguments import add_section_sizes
from fadump.cli.sizes import size
from fadump.errors import UsageError
from fadump.given import check_file, reading, write_whole
from fadump.kernel.plan.drawing import length, svg
from fadump.kernel.plan.map_text import parse_range
from fadump.kernel.plan.memory_map import MemoryBlock, MemoryMap
from fadump.kernel.plan.plan import Plan, make_plan
from fadump.kernel.plan.read_memory import read_memory, release_beside
from fadump.kernel.plan.reserve import Reservation, System
from fadump.kernel.traits import (
    DEFAULT_VERSION,
    GIB,
    KERNEL_VERSIONS,
    LINUX_6_12,
    PAGE_BYTES,
    Mmu,
    nearest_version,
)
from fadump.memory.ranges import Range, RangeSet
from fadump.printable import with_others
from fadump.run.section_sizes import section_refusals

_DEFAULT_BYTES = {Platform.PSERIES: 2 * GIB, Platform.POWERNV: 4 * GIB}
_MOST_CPUS = 1 << 16
_NONE = "none"
_STDOUT = Path("-")
_RTAS = Range(0x2FFF_0000, 0x3000_0000)
_DEFAULT_CPUS = 2
_PIRS_PER_CPU = 4
_EXAMPLE = """example:
  fadump plan --memory 64G --cmdline 'fadump=on crashkernel=4G'
      would it be set up, with how much, and where
  fadump plan --memory 64G --why
      and why: each number with the line of Linux that it comes from
  fadump plan --memory-map /proc/device-tree --svg plan.svg
      this machine, with its command line, as a picture, too"""


def add_parser(commands: Commands) -> None:
    """Add the command to the main parser."""
    parser = add_command(
        commands,
        "plan",
        _plan,
        summary="where a kernel would reserve memory for FADump, and why",
        description="Say what a kernel would reserve for FADump on a machine: how much, where, and why.",
        example=_EXAMPLE,
    )
    memory = parser.add_mutually_exclusive_group()
    memory.add_argument("--memory", type=_ram, metavar="SIZE", help="RAM in one piece (default: 2G; powernv: 4G)")
    memory.add_argument(
        "--memory-map", type=path, metavar="FILE",
        help="a text with a line START..END [memory|removable|firmware] for each range, as 0..1G; a device tree blob; "
        "or a directory such as /proc/device-tree",
    )  # fmt: skip
    parser.add_argument(
        "--reserved", type=_reserved, action="append", metavar="START..END",
        help="firmware's memory, that the device tree's reserved-ranges name; none for none "
        "(default with --memory: what 'fadump run' has there)",
    )  # fmt: skip
    parser.add_argument("--cmdline", help="the kernel's command line (default: the tree's, or fadump=on)")
    parser.add_argument(
        "--platform", choices=list(Platform), type=Platform, metavar="PLATFORM",
        help="pseries: RTAS (default); powernv: OPAL, MPIPL",
    )  # fmt: skip
    parser.add_argument(
        "--mmu", choices=list(Mmu), type=Mmu, metavar="MMU", help="radix (default), or hash, as POWER8 has it"
    )
    parser.add_argument(
        "--page-size", choices=list(PAGE_BYTES), default="64K", help="the kernel's page size (default: %(default)s)"
    )
    parser.add_argument(
        "--cpus",
        type=number(1, _MOST_CPUS),
        help="CPUs that the machine can ever have, 2 by default: the firmware saves each",
    )
    add_section_sizes(parser)
    parser.add_argument(
        "--nr-cpus", type=number(1, _MOST_CPUS), default=LINUX_6_12.nr_cpus, metavar="COUNT",
        help="the kernel's CONFIG_NR_CPUS; distributions have 2048 (default: %(default)s, as 'fadump kernel build')",
    )  # fmt: skip
    parser.add_argument(
        "--kernel-version",
        choices=list(KERNEL_VERSIONS),
        help="which Linux it is (default: the nearest to the kernel of --memory-map /proc/device-tree, else 6.12)",
    )
    parser.add_argument(
        "--why", action="store_true", help="say the reason for each number, and the line of Linux it comes from"
    )
    parser.add_argument("--svg", type=path, metavar="FILE", help="also write the map as an SVG picture; - for stdout")


def _plan(options: argparse.Namespace, output: Output) -> Answer:
    to_stdout = options.svg == _STDOUT
    if to_stdout and output.as_json:
        raise UsageError("--svg - and --json both want standard output: name a file for the picture")
    release = None
    if options.kernel_version is None and options.memory_map is not None:
        release = release_beside(options.memory_map)
    if options.kernel_version is None:
        options.kernel_version = DEFAULT_VERSION if release is None else nearest_version(release)
    plan = _made(options)
    lines = plan_lines(plan, _title(options, plan, release), why=options.why, quiet=output.quiet)
    text = "\n".join(map(output.wrapped, lines))
    if to_stdout:
        output.aside(text)
        return Answer(text=svg(plan).rstrip("\n"))
    if options.svg is not None:
        write_whole("--svg", options.svg, svg(plan).encode(), 0o666)
    return Answer({**_as_json(options, plan), "kernel_release": release}, text)


def _made(options: argparse.Namespace) -> Plan:
    """The plan for the system, the kernel and the command line that the options speak of."""
    kernel = replace(
        KERNEL_VERSIONS[options.kernel_version], page_bytes=PAGE_BYTES[options.page_size], nr_cpus=options.nr_cpus
    )
    cmdline, dump_announced = options.cmdline, False
    if options.memory_map is None:
        platform = options.platform or Platform.PSERIES
        blocks = [MemoryBlock(Range(0, options.memory or _DEFAULT_BYTES[platform]))]
        firmware = _firmware(platform, options.cpus or _DEFAULT_CPUS) & RangeSet(block.range for block in blocks)
        system = System(platform, MemoryMap.of(blocks, firmware, RangeSet()))
    else:
        if not options.memory_map.is_dir():
            check_file("--memory-map", options.memory_map)
        with reading("--memory-map", options.memory_map):
            found = read_memory(options.memory_map)
        if isinstance(found, MemoryMap):
            system = System(options.platform or Platform.PSERIES, found)
        else:
            system, dump_announced = found.system, found.dump_announced
            cmdline = found.cmdline if cmdline is None else cmdline
    cmdline = "fadump=on" if cmdline is None else cmdline
    system = _changed(options, system)
    for refusal in _refusals(options, system):
        raise UsageError(refusal)
    return make_plan(system, kernel, cmdline, dump_announced=dump_announced)


def _refusals(options: argparse.Namespace, system: System) -> Iterator[str]:
    """What ``fadump run`` refuses of a firmware, too, and memory that nobody can reserve."""
    sizes = options.hpte_size, options.cpu_state_size
    if sizes != (None, None) and system.platform is Platform.POWERNV:
        yield "--hpte-size and --cpu-state-size go with --platform pseries: OPAL offers no such sections"
    yield from section_refusals(*sizes, system.memory.end)
    ram = RangeSet(system.memory.regions)
    for piece in filter(None, options.reserved or ()):
        if not ram.contains(piece):
            yield f"--reserved takes memory of the machine, {piece} is not: its memory is {with_others(list(ram))}"


def _firmware(platform: Platform, cpus: int) -> RangeSet:
    """What ``fadump run`` has low in ``reserved-ranges``: RTAS; skiboot, entry page and device tree."""
    if platform is Platform.PSERIES:
        return RangeSet([_RTAS])
    return RangeSet(skiboot_memory(_PIRS_PER_CPU * (cpus - 1)))


def _changed(options: argparse.Namespace, system: System) -> System:
    if options.platform is not None:
        system = replace(system, platform=options.platform)
    if options.mmu is not None:
        system = replace(system, mmu=options.mmu)
    if options.reserved is not None:
        firmware = RangeSet(range_ for range_ in options.reserved if range_ is not None)
        system = replace(system, memory=replace(system.memory, firmware=firmware))
    if not system.cpu_state_bytes:  # no firmware has said what it offers, so that this is ours
        hpte_bytes = HPTE_BYTES if system.mmu is Mmu.HASH else 0
        system = replace(system, cpu_state_bytes=area_bytes(_DEFAULT_CPUS, len(REGISTERS)), hpte_bytes=hpte_bytes)
    if options.cpus is not None:
        system = replace(system, cpu_state_bytes=area_bytes(options.cpus, len(REGISTERS)))
    if options.cpu_state_size is not None:
        system = replace(system, cpu_state_bytes=options.cpu_state_size)
    if options.hpte_size is not None:
        system = replace(system, hpte_bytes=options.hpte_size)
    return system if system.platform is Platform.PSERIES else replace(system, cpu_state_bytes=0, hpte_bytes=0)


def _title(options: argparse.Namespace, plan: Plan, release: str | None) -> Iterator[str]:
    system = plan.system
    if release is not None:
        yield f"Linux {release} runs there: of the kernels that a plan knows, {options.kernel_version} is the nearest"
    yield (
        f"Linux {options.kernel_version}, {options.page_size} pages, {system.platform}, {system.mmu}, "
        f"{length(system.memory.ram_bytes)} of RAM: {plan.cmdline}"
    )


def _as_json(options: argparse.Namespace, plan: Plan) -> dict[str, Any]:
    system, reservation, capture = plan.system, plan.reservation, plan.capture
    boot = None if reservation is None else reservation.boot_memory
    kdump = None if plan.kdump is None else plan.kdump.area
    return {
        "result": "refused" if reservation is None else "lost" if loses_dump(plan) else "reserved",
        "platform": system.platform,
        "mmu": system.mmu,
        "kernel_version": options.kernel_version,
        "page_bytes": plan.kernel.page_bytes,
        "cmdline": plan.cmdline,
        "ram_bytes": system.memory.ram_bytes,
        "memory": _ranges(system.memory.regions),
        "firmware": _ranges(system.memory.firmware),
        "boot_memory_bytes": None if boot is None else boot.size_bytes,
        "boot_memory_top": None if boot is None else boot.top,
        "reserved_base": None if reservation is None else reservation.area.start,
        "reserved_bytes": None if reservation is None else reservation.area.size_bytes,
        "sections": [] if reservation is None else _sections(reservation, system.platform),
        "cma": None if reservation is None or reservation.cma is None else _range(reservation.cma),
        "capture": None
        if capture is None
        else {
            "boot_memory_top": capture.boot_memory_top,
            "reserved": _ranges(capture.ranges),
            "reserved_bytes": capture.reserved_bytes,
            "usable_bytes": capture.usable_bytes,
        },
        "refusal": None if plan.refusal is None else plan.refusal.sentence,
        "kdump": None if kdump is None else _range(kdump),
        "warnings": list(warnings_of(plan)),
        "reasons": [
            {"name": reason.name, "number": reason.number, "reason": reason.sentence, "source": reason.source}
            for reason in plan.reasons
        ],
        "recommended": [
            {
                "distribution": recommendation.distribution,
                "table": recommendation.table,
                "crashkernel_bytes": recommendation.size_bytes,
            }
            for recommendation in plan.recommended
        ],
    }


def _sections(reservation: Reservation, platform: Platform) -> list[dict[str, Any]]:
    registered = reservation.registered(platform)
    return [
        {
            "name": section.part,
            "offset": section.destination - reservation.area.start if section.destination in reservation.area else None,
            "source": section.source,
            "bytes": section.size_bytes,
            "destination": section.destination,
            "registered": section in registered,
        }
        for section in reservation.sections
    ]


def _ranges(ranges: RangeSet | tuple[Range, ...]) -> list[dict[str, int]]:
    return [_range(range_) for range_ in ranges]


def _range(range_: Range) -> dict[str, int]:
    return {"start": range_.start, "end": range_.end}


def _ram(text: str) -> int:
    size_bytes = size(text)
    if not size_bytes:
        raise argparse.ArgumentTypeError("a machine needs memory")
    return size_bytes


def _reserved(text: str) -> Range | None:
    if text == _NONE:
        return None
    try:
        return parse_range(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
