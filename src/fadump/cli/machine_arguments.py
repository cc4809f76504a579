"""The options that make a machine, for all commands that have one."""

import argparse
from pathlib import Path
from typing import Any

from fadump.abi.platform import Platform
from fadump.cli.numbers import whole_number
from fadump.cli.output import Answer
from fadump.cli.parser import did_you_mean
from fadump.cli.paths import path
from fadump.cli.sizes import size
from fadump.firmware.faults import UnknownFaultError
from fadump.kernel.traits import KERNEL_VERSIONS, PAGE_BYTES
from fadump.machine.qemu.config import Dimm
from fadump.run.faults import Faults, fault_answers, fault_list, faults_by_kind, parse_faults, platforms_of
from fadump.run.options import MOST_CPUS, MOST_EMBEDDED_CPUS
from fadump.spelling import AMONG_FEW, nearest

_DEFAULT_MEMORY = {Platform.PSERIES: 2 << 30, Platform.POWERNV: 4 << 30}
FAULT_LIST = "list"
_MEMORY_DEFAULT = "(default: 2G; powernv: 4G, its least)"


def add_machine_arguments(parser: argparse.ArgumentParser, *, real_linux_too: bool = False) -> None:
    """Platform, memory, CPUs, command line, kernel version, and what goes wrong.

    With ``real_linux_too`` the command has ``--machine qemu``, and the help says what is for the other one.
    """
    embedded, most, most_cpus = "", "64T", str(MOST_EMBEDDED_CPUS)
    if real_linux_too:
        embedded, most, most_cpus = "embedded: ", "64T, with qemu 256G", f"{MOST_EMBEDDED_CPUS}, with qemu {MOST_CPUS}"
    parser.add_argument(
        "--platform", choices=list(Platform), type=Platform, default=Platform.PSERIES, metavar="PLATFORM",
        help="pseries: RTAS (default); powernv: OPAL, MPIPL",
    )  # fmt: skip
    parser.add_argument("--memory", type=size, help=f"guest memory, up to {most} {_MEMORY_DEFAULT}")
    parser.add_argument(
        "--node", type=size, action="append", default=[], metavar="SIZE", help="memory of a NUMA node, once for each"
    )
    parser.add_argument(
        "--dimm", type=dimm, action="append", default=[], metavar="SIZE@ADDR", help="a DIMM above the other memory"
    )
    parser.add_argument(
        "--cpus", type=whole_number, default=2, help=f"CPUs that Linux sees, up to {most_cpus} (default: %(default)s)"
    )
    parser.add_argument("--smt", type=whole_number, default=1, help="threads per core (default: %(default)s)")
    parser.add_argument("--max-cpus", type=whole_number, help="CPUs that can be plugged (default: no more than --cpus)")
    parser.add_argument("--cpu-model", default="POWER9", help="QEMU's name of the CPU (default: %(default)s)")
    parser.add_argument(
        "--cmdline", default="", metavar="WORDS",
        help="words added to the kernel's command line; a crashkernel= among them takes the place of ours",
    )  # fmt: skip
    parser.add_argument(
        "--bare-cmdline", action="store_true", help="add neither fadump=on nor crashkernel= to the command line"
    )
    parser.add_argument(
        "--kernel-version",
        choices=list(KERNEL_VERSIONS),
        help=f"{embedded}which Linux it is (default: 6.12)",
    )
    parser.add_argument("--page-size", choices=list(PAGE_BYTES), help=f"{embedded}the page size (default: 64K)")
    in_front = "on powernv, boot through a kernel that preserves dumps"
    if real_linux_too:
        parser.add_argument(
            "--petitboot", nargs="?", type=path, const=True, default=False, metavar="KERNEL",
            help=f"{in_front}; qemu: this one (default: fadump kernel build --preserve)",
        )  # fmt: skip
    else:
        parser.add_argument("--petitboot", action="store_true", help=in_front)
    parser.add_argument("--crash-cpu", type=whole_number, default=0, help="the CPU to crash on (default: %(default)s)")
    parser.add_argument(
        "--fault", action="append", default=[], metavar="NAME", help="do something wrong on purpose; --fault list"
    )


def machine_choices(options: argparse.Namespace) -> dict[str, Any]:
    """What these options say, by the names of :class:`fadump.run.options.RunOptions`."""
    return {
        "platform": options.platform,
        "memory_bytes": _memory_bytes(options),
        "nodes": tuple(options.node),
        "dimms": tuple(options.dimm),
        "cpus": options.cpus,
        "smt": options.smt,
        "max_cpus": options.max_cpus,
        "cpu_model": options.cpu_model,
        "cmdline": options.cmdline,
        "bare_cmdline": options.bare_cmdline,
        "kernel_version": options.kernel_version,
        "page_size": options.page_size,
        "petitboot": options.petitboot is not False,
        "petitboot_kernel": options.petitboot if isinstance(options.petitboot, Path) else None,
        "crash_cpu": options.crash_cpu,
        "faults": parsed_faults(options),
    }


def _memory_bytes(options: argparse.Namespace) -> int:
    if options.memory is not None:
        return int(options.memory)
    return sum(options.node) if options.node else _DEFAULT_MEMORY[options.platform]


def listed_faults(options: argparse.Namespace) -> Answer | None:
    """The faults' names, if they were asked for."""
    if FAULT_LIST not in options.fault:
        return None
    return Answer({"faults": faults_by_kind()}, listing="\n".join(fault_list()))


def dimm(text: str) -> Dimm:
    """A DIMM, for argparse.

    :raises argparse.ArgumentTypeError: it is written otherwise.
    """
    size_text, _separator, address = text.partition("@")
    try:
        return Dimm(size(size_text), size(address))
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError("write it as 1G@4G or 1G@0x100000000") from None


def parsed_faults(options: argparse.Namespace) -> Faults:
    """What ``--fault`` says.

    :raises UsageError: one of them is none.
    """
    try:
        return parse_faults(options.fault, options.platform)
    except UnknownFaultError as error:
        near = did_you_mean(_nearest_fault(error.name, options.platform))
        options.parser.error(f"--fault {error.name or repr(error.name)}: {error.why}; --fault list has them all{near}")
        raise


def _nearest_fault(name: str, platform: Platform) -> str | None:
    answers = fault_answers(platform)
    typed, equals, answer = name.partition("=")
    part = nearest(typed, answers, AMONG_FEW)
    if part is None:
        return None
    likely = [answer, nearest(answer, answers[part], AMONG_FEW)]
    names = [f"{part}{equals}{word}" for word in likely if word is not None]
    return next((name for name in names if platform in platforms_of(name)), None)
