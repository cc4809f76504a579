"""The options that make a machine for a system that isn't ours, for all commands that have one."""

import argparse
import shlex
from dataclasses import replace

from fadump.abi.platform import Platform
from fadump.cli.debugging_arguments import add_debugging_arguments
from fadump.cli.machine_arguments import parsed_faults
from fadump.cli.numbers import whole_number
from fadump.cli.offer_arguments import add_offer_arguments, offer
from fadump.cli.paths import path
from fadump.cli.sizes import size
from fadump.machine.qemu.config import DEFAULT_QEMU
from fadump.run.options import MOST_CPUS
from fadump.systems.vm import VmOptions


def add_system_arguments(parser: argparse.ArgumentParser) -> None:
    """Disks, kernel, platform, memory, CPUs, network, QEMU."""
    parser.add_argument(
        "--disk", type=path, action="append", default=[], metavar="FILE",
        help="a disk image, raw or qcow2; once for each disk; the first one's boot loader is started",
    )  # fmt: skip
    parser.add_argument("--kernel", type=path, help="a vmlinux, zImage, .deb or .rpm to start instead of a boot loader")
    parser.add_argument("--initrd", type=path, help="its initramfs")
    parser.add_argument(
        "--cmdline",
        help="its command line, all of it (default: console=hvc0 fadump=on, on pseries crashkernel=512M too)",
    )
    parser.add_argument(
        "--platform", choices=list(Platform), type=Platform, default=Platform.PSERIES, metavar="PLATFORM",
        help="pseries: RTAS (default); powernv: OPAL, MPIPL; needs a --kernel",
    )  # fmt: skip
    parser.add_argument("--memory", type=size, default=4 << 30, help="guest memory (default: 4G)")
    parser.add_argument(
        "--cpus", type=whole_number, default=2, help=f"CPUs that Linux sees, 1 to {MOST_CPUS} (default: %(default)s)"
    )
    parser.add_argument("--smt", type=whole_number, default=1, help="threads per core (default: %(default)s)")
    parser.add_argument("--cpu-model", default="POWER9", help="QEMU's name of the CPU (default: %(default)s)")
    parser.add_argument(
        "--net", choices=["none", "user"], default="none", help="user: QEMU's own network (default: %(default)s)"
    )
    parser.add_argument("--qemu", default=DEFAULT_QEMU, help="which QEMU, or newest (default: %(default)s)")
    parser.add_argument(
        "--qemu-arg",
        type=_words,
        action="append",
        default=[],
        metavar="WORDS",
        help="words for QEMU, as in --qemu-arg='-device e1000'",
    )
    add_offer_arguments(parser)
    add_debugging_arguments(parser)


def add_firmware_arguments(parser: argparse.ArgumentParser) -> None:
    """How faithful the firmware is, and what it does wrong on purpose."""
    parser.add_argument(
        "--fault", action="append", default=[], metavar="NAME",
        help="have the firmware do something wrong on purpose: those of fadump run --fault list",
    )  # fmt: skip
    parser.add_argument(
        "--strict", action="store_true",
        help="the firmware does what LoPAR says and no more: it keeps nothing from Linux that Linux frees by mistake",
    )  # fmt: skip


def system_options(options: argparse.Namespace) -> VmOptions:
    """What these options say."""
    return VmOptions(
        kernel=options.kernel,
        initrd=options.initrd,
        cmdline=options.cmdline,
        disks=tuple(options.disk),
        platform=options.platform,
        memory_bytes=options.memory,
        cpus=options.cpus,
        smt=options.smt,
        cpu_model=options.cpu_model,
        user_network=options.net == "user",
        qemu=options.qemu,
        qemu_arguments=tuple(word for words in options.qemu_arg for word in words),
        offer=offer(options),
        gdb_port=options.gdb,
        stop_at=options.stop_at,
    )


def system_with_firmware(options: argparse.Namespace) -> VmOptions:
    """The same, with the options of :func:`add_firmware_arguments`."""
    return replace(system_options(options), strict=options.strict, faults=parsed_faults(options))


def _words(text: str) -> list[str]:
    """Words as a shell takes them apart, for argparse.

    :raises argparse.ArgumentTypeError: a quotation has no end.
    """
    try:
        return shlex.split(text)
    except ValueError:
        raise argparse.ArgumentTypeError("close its quotation marks, or put a backslash before one") from None
