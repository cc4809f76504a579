"""``fadump run``: one whole cycle on a machine."""

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

from fadump.cli.run_view import RunView
from fadump.errors import FadumpError
from fadump.machine.qemu.process import DEFAULT_QEMU
from fadump.run import RunOptions, RunResult, run

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_EXAMPLE = """example:
  fadump run --memory 4G --cpus 4 --out crash-1
      boots Linux, crashes it, and leaves crash-1/vmcore"""


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
        "--machine", choices=["qemu"], default="qemu", help="what to run on: qemu, real Linux (default)"
    )
    parser.add_argument("--platform", choices=["pseries"], default="pseries", help="default: %(default)s")
    parser.add_argument("--memory", type=_size, default="2G", help="guest memory, 1G to 8G (default: 2G)")
    parser.add_argument("--cpus", type=int, default=2, help="CPUs that Linux sees, 1 to 8 (default: %(default)s)")
    parser.add_argument("--cpu-model", default="POWER9", help="QEMU's name of the CPU (default: %(default)s)")
    parser.add_argument("--cmdline", default="", help="words added to the kernel's command line")
    parser.add_argument("--kernel", type=Path, help="a vmlinux with CONFIG_FA_DUMP (default: fadump kernel build)")
    parser.add_argument("--initrd", type=Path, help="an initramfs that ours is added to, for a kernel with modules")
    parser.add_argument("--qemu", default=DEFAULT_QEMU, help="the QEMU to run (default: %(default)s)")
    parser.add_argument("--crash-cpu", type=int, default=0, help="the CPU to crash on (default: %(default)s)")
    parser.add_argument(
        "--out", type=Path, default=Path("fadump-run"), help="directory for files (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout, text on stderr")
    parser.set_defaults(func=_run)


def _run(options: argparse.Namespace) -> int:
    view = RunView(sys.stderr if options.json else sys.stdout)
    try:
        result = run(
            RunOptions(
                out=options.out,
                memory_bytes=options.memory,
                cpus=options.cpus,
                cpu_model=options.cpu_model,
                cmdline=options.cmdline,
                kernel=options.kernel,
                initrd=options.initrd,
                qemu=options.qemu,
                crash_cpu=options.crash_cpu,
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
    return 0


def _as_json(options: argparse.Namespace, result: RunResult) -> dict[str, Any]:
    cycle = result.cycle
    return {
        "result": "saved",
        "machine": options.machine,
        "platform": options.platform,
        "kernel_release": cycle.kernel_release,
        "vmcore": str(result.vmcore),
        "vmcore_bytes": cycle.vmcore_bytes,
        "vmlinux": str(result.vmlinux) if result.vmlinux else None,
        "cpus": cycle.cpus,
        "boot_memory_bytes": cycle.boot_memory_bytes,
        "reserved_bytes": cycle.reserved_bytes,
        "memory_released": cycle.memory_released,
        "reboots": cycle.reboots,
        "timeline": [
            {"event": milestone, "at_seconds": round(at_seconds, 3)} for milestone, at_seconds in cycle.timeline
        ],
    }


def _size(text: str) -> int:
    """Bytes in "2G", "1536M" or "2147483648"."""
    match = re.fullmatch(r"(\d{1,15})([KMG]?)i?B?", text, re.IGNORECASE)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; write it as 2G or 1536M")
    return int(match[1]) * _UNITS[match[2].upper()]
