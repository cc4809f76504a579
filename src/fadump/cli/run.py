"""``fadump run``: one whole cycle on a machine."""

import argparse
import json
import re
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fadump.abi.platform import Platform
from fadump.cli.run_view import RunView
from fadump.cycle import CrashBy
from fadump.errors import FadumpError
from fadump.faults import check_name, fault_list
from fadump.firmware.faults import UnknownFaultError
from fadump.kernel.traits import KERNEL_VERSIONS, PAGE_BYTES
from fadump.machine.qemu.process import DEFAULT_QEMU, Dimm
from fadump.options import RunOptions, WhichMachine, WhoseFirmware
from fadump.run import JudgedCycle, RunResult, run
from fadump.verify import Verdict

_DEFAULT_MEMORY = {Platform.PSERIES: 2 << 30, Platform.POWERNV: 4 << 30}
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
FAULT_LIST = "list"
_MEMORY_HELP = "guest memory, up to 64T, with qemu 16G (default: 2G; powernv: 4G, its least)"
_EXAMPLE = """example:
  fadump run --memory 4G --cpus 4 --out crash-1
      crashes a model of Linux, and leaves crash-1/vmcore
  fadump run --machine qemu
      the same with real Linux: boots it in QEMU"""


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the main parser."""
    parser = commands.add_parser(
        "run",
        help="one whole cycle: register, crash, dump, save, release, register again",
        description="Take one machine through a whole firmware-assisted dump and keep its vmcore.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--machine", choices=list(WhichMachine), type=WhichMachine, default=WhichMachine.EMBEDDED, metavar="MACHINE",
        help="what to run on: embedded, a model of Linux, in a second (default); qemu, real Linux",
    )  # fmt: skip
    parser.add_argument(
        "--platform", choices=list(Platform), type=Platform, default=Platform.PSERIES, metavar="PLATFORM",
        help="pseries: RTAS (default); powernv: OPAL, MPIPL",
    )  # fmt: skip
    parser.add_argument("--memory", type=_size, help=_MEMORY_HELP)
    parser.add_argument(
        "--node", type=_size, action="append", default=[], metavar="SIZE", help="memory of a NUMA node, once for each"
    )
    parser.add_argument(
        "--dimm", type=_dimm, action="append", default=[], metavar="SIZE@ADDR", help="a DIMM above the other memory"
    )
    parser.add_argument("--cpus", type=int, default=2, help="CPUs that Linux sees, 1 to 8 (default: %(default)s)")
    parser.add_argument("--smt", type=int, default=1, help="threads per core (default: %(default)s)")
    parser.add_argument("--max-cpus", type=int, help="CPUs that can be plugged (default: no more than --cpus)")
    parser.add_argument("--cpu-model", default="POWER9", help="QEMU's name of the CPU (default: %(default)s)")
    parser.add_argument("--cmdline", default="", help="words added to the kernel's command line")
    parser.add_argument(
        "--kernel-version",
        choices=list(KERNEL_VERSIONS),
        help="embedded: which Linux it is (default: 6.12)",
    )
    parser.add_argument("--page-size", choices=list(PAGE_BYTES), help="embedded: the page size (default: 64K)")
    parser.add_argument("--kernel", type=Path, help="qemu: a vmlinux with FADump (default: fadump kernel build)")
    parser.add_argument("--initrd", type=Path, help="qemu: an initramfs for a kernel with modules; ours is added")
    parser.add_argument("--qemu", default=DEFAULT_QEMU, help="qemu: which QEMU, or newest (default: %(default)s)")
    parser.add_argument(
        "--firmware", choices=list(WhoseFirmware), type=WhoseFirmware, default=WhoseFirmware.OURS, metavar="WHOSE",
        help="who takes the dump: ours (default), or qemu, QEMU's own FADump, which 10.2 and later have",
    )  # fmt: skip
    parser.add_argument(
        "--crash-by", choices=list(CrashBy), type=CrashBy, default=CrashBy.SYSRQ, metavar="HOW",
        help="sysrq: Linux crashes itself (default); nmi: a system reset interrupt; platform: without Linux's help",
    )  # fmt: skip
    parser.add_argument("--crash-cpu", type=int, default=0, help="the CPU to crash on (default: %(default)s)")
    parser.add_argument("--cycles", type=int, default=1, help="cycles in a row on one machine (default: %(default)s)")
    parser.add_argument(
        "--verify", action="store_true", help="compare every byte of the dump with the machine at its crash"
    )
    parser.add_argument(
        "--fault", type=_fault, action="append", default=[], help="do something wrong on purpose; --fault list"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("fadump-run"), help="directory for files (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout, text on stderr")
    parser.set_defaults(func=_run)


def _run(options: argparse.Namespace) -> int:
    if FAULT_LIST in options.fault:
        print("\n".join(fault_list()))
        return 0
    view = RunView(sys.stderr if options.json else sys.stdout)
    try:
        result = run(
            RunOptions(
                out=options.out,
                machine=options.machine,
                platform=options.platform,
                memory_bytes=options.memory or sum(options.node) or _DEFAULT_MEMORY[options.platform],
                nodes=tuple(options.node),
                dimms=tuple(options.dimm),
                cpus=options.cpus,
                smt=options.smt,
                max_cpus=options.max_cpus,
                cpu_model=options.cpu_model,
                cmdline=options.cmdline,
                kernel_version=options.kernel_version,
                page_size=options.page_size,
                kernel=options.kernel,
                initrd=options.initrd,
                qemu=options.qemu,
                firmware=options.firmware,
                crash_by=options.crash_by,
                crash_cpu=options.crash_cpu,
                cycles=options.cycles,
                verify=options.verify,
                fault_names=tuple(options.fault),
            ),
            view,
        )
    except FadumpError as error:
        if options.json:
            print(json.dumps({"result": "failed", "error": str(error)}))
        raise
    view.summary(result)
    if options.json:
        print(json.dumps(_as_json(options, result)))
    return 0 if result.good else 1


def _as_json(options: argparse.Namespace, result: RunResult) -> dict[str, Any]:
    common = {"machine": options.machine, "platform": options.platform, "vmlinux": _text(result.vmlinux)}
    cycles = [_cycle_as_json(judged) | common for judged in result.cycles]
    last = cycles[-1] | {"vmcore": _text(result.vmcore)}
    if len(cycles) > 1:
        last |= {"cycles": cycles, "result": "saved" if result.good else "different"}
    return last


def _cycle_as_json(judged: JudgedCycle) -> dict[str, Any]:
    cycle = judged.cycle
    shown = {
        "result": "saved" if judged.good else "different",
        "kernel_release": cycle.kernel_release,
        "vmcore_bytes": cycle.vmcore_bytes,
        "cpus": cycle.cpus,
        "boot_memory_bytes": cycle.boot_memory_bytes,
        "reserved_bytes": cycle.reserved_bytes,
        "memory_released": cycle.memory_released,
        "reboots": cycle.reboots,
        "timeline": [
            {"event": milestone, "at_seconds": round(at_seconds, 3)} for milestone, at_seconds in cycle.timeline
        ],
    }
    return shown if judged.verdict is None else shown | {"verified": _verdict_as_json(judged.verdict)}


def _verdict_as_json(verdict: Verdict) -> dict[str, Any]:
    memory = verdict.memory
    opal = {} if verdict.opal is None else {"opalcore": asdict(verdict.opal)}
    return opal | {
        "bytes_compared": memory.bytes_compared,
        "bytes_different": memory.bytes_different,
        "bytes_excluded": memory.bytes_excluded,
        "excluded": [{"range": str(left_out.range), "reason": left_out.reason} for left_out in memory.excluded],
        "differences": [str(difference) for difference in memory.differences],
        "registers_different": list(verdict.registers),
    }


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _dimm(text: str) -> Dimm:
    size, _separator, address = text.partition("@")
    try:
        return Dimm(_size(size), int(address, 0) if address.startswith("0x") else _size(address))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no DIMM; write it as 1G@4G or 1G@0x100000000") from None


def _fault(text: str) -> str:
    if text == FAULT_LIST:
        return text
    try:
        return check_name(text)
    except UnknownFaultError as error:
        raise argparse.ArgumentTypeError(f"{error}; --fault list has them all") from None


def _size(text: str) -> int:
    """Bytes in "2G", "1536M" or "2147483648"."""
    match = re.fullmatch(r"(\d{1,15})([KMGT]?)i?B?", text, re.IGNORECASE)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; write it as 2G or 1536M")
    return int(match[1]) * _UNITS[match[2].upper()]
