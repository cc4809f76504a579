"""``fadump kernel``: build a FADump kernel from the distribution's source package, list those that are there."""

import argparse

from fadump.cli.output import Answer, Output
from fadump.cli.parser import Commands, add_command, add_group
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

_EXAMPLE = """example:
  fadump kernel build                     Linux 6.12 with 64K pages, the one that 'fadump run --machine qemu' takes
  fadump kernel build --page-size 4K      the same with 4K pages
  fadump kernel list --json               every kernel that has been built, with its files
"""


def add_parser(commands: Commands) -> None:
    """Add the command to the main parser, with its own two."""
    group = add_group(
        commands,
        "kernel",
        summary="build a FADump kernel, list those that are there",
        description="Build a Linux kernel with FADump from the distribution's source package, "
        "once, into a cache; list what is there.",
        example=_EXAMPLE,
    )
    build = add_command(
        group,
        "build",
        _build,
        summary="build a kernel, unless it is there",
        description="Build a kernel, unless it is there: about 10 minutes on 2 processors.",
        example="example:\n  fadump kernel build --version 6.12 --page-size 4K\n",
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
    add_command(
        group,
        "list",
        _list,
        summary="list the kernels that have been built",
        description="List the kernels that have been built, one a line: release, page size, file to boot.",
        example="example:\n  fadump kernel list --json\n",
    )


def _build(options: argparse.Namespace, _output: Output) -> Answer:
    series = newest_series() if options.series == NEWEST_SERIES else options.series
    kernel = build_kernel(series, options.page_size)
    return Answer(kernel.as_json(), _line(kernel))


def _list(_options: argparse.Namespace, _output: Output) -> Answer:
    kernels = list_kernels()
    return Answer({"kernels": [kernel.as_json() for kernel in kernels]}, listing="\n".join(map(_line, kernels)))


def _line(kernel: Kernel) -> str:
    return f"{kernel.release}  {kernel.page_size}  {kernel.bootable}"
