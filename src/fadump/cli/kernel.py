"""``fadump kernel``: build a FADump kernel from the distribution's source package, list those that are there."""

import argparse
import json
import sys

from fadump.cli.help_text import HelpFormatter
from fadump.kit.kernel import (
    DEFAULT_PAGE_SIZE,
    DEFAULT_SERIES,
    NEWEST_SERIES,
    PAGE_SIZES,
    Kernel,
    build_kernel,
    list_kernels,
    newest_series,
)

_EPILOG = """example:
  fadump kernel build                     Linux 6.12 with 64K pages, the one that 'fadump run --machine qemu' takes
  fadump kernel build --page-size 4K      the same with 4K pages
  fadump kernel list --json               every kernel that has been built, with its files
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``kernel`` with its own two commands; each sets ``func``, which returns the exit status."""
    kernel = subparsers.add_parser(
        "kernel",
        help="build a FADump kernel, list those that are there",
        description="Build a Linux kernel with FADump from the distribution's source package, "
        "once, into a cache; list what is there.",
        epilog=_EPILOG,
        formatter_class=HelpFormatter,
    )
    commands = kernel.add_subparsers(metavar="COMMAND", required=True)

    build = commands.add_parser(
        "build",
        help="build a kernel, unless it is there",
        description="Build a kernel, unless it is there: about 10 minutes on 2 processors.",
        epilog="example:\n  fadump kernel build --version 6.12 --page-size 4K\n",
        formatter_class=HelpFormatter,
    )
    build.add_argument(
        "--version",
        metavar="SERIES",
        default=DEFAULT_SERIES,
        dest="series",
        help="the Linux version, as Debian's package linux-source-SERIES has it, or newest (default: %(default)s)",
    )
    build.add_argument(
        "--page-size",
        choices=PAGE_SIZES,
        default=DEFAULT_PAGE_SIZE,
        help="the kernel's page size (default: %(default)s)",
    )
    build.add_argument("--json", action="store_true", help="print one JSON object about the kernel")
    build.set_defaults(func=_build)

    show = commands.add_parser(
        "list",
        help="list the kernels that have been built",
        description="List the kernels that have been built, one a line: release, page size, file to boot.",
        epilog="example:\n  fadump kernel list --json\n",
        formatter_class=HelpFormatter,
    )
    show.add_argument("--json", action="store_true", help='print one JSON object, {"kernels": [...]}')
    show.set_defaults(func=_list)


def _build(arguments: argparse.Namespace) -> int:
    series = newest_series() if arguments.series == NEWEST_SERIES else arguments.series
    kernel = build_kernel(series, arguments.page_size)
    if arguments.json:
        print(f"{kernel.title}: {kernel.bootable}", file=sys.stderr)
        print(json.dumps(kernel.as_json()))
    else:
        print(_line(kernel))
    return 0


def _list(arguments: argparse.Namespace) -> int:
    kernels = list_kernels()
    if arguments.json:
        print(json.dumps({"kernels": [kernel.as_json() for kernel in kernels]}))
    else:
        for kernel in kernels:
            print(_line(kernel))
    return 0


def _line(kernel: Kernel) -> str:
    return f"{kernel.release}  {kernel.page_size}  {kernel.bootable}"
