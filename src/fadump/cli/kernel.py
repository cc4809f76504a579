"""``fadump kernel``: build a FADump kernel from the distribution's source package or a tree, list those there are."""

import argparse

from fadump.cli.output import Answer, Output
from fadump.cli.parser import Commands, add_command, add_group
from fadump.cli.paths import path
from fadump.errors import UsageError
from fadump.kit.kernel import (
    DEFAULT_PAGE_SIZE,
    DEFAULT_SERIES,
    NO_OPTIONS,
    PAGE_SIZES,
    Kernel,
    build_kernel,
    list_kernels,
)
from fadump.kit.kernel_config import preserve_options, read_fragment
from fadump.kit.kernel_source import TreeKernel, build_tree
from fadump.printable import with_others

_EXAMPLE = """example:
  fadump kernel build                     Linux 6.12 with 64K pages, the one that 'fadump run --machine qemu' takes
  fadump kernel build --page-size 4K      the same with 4K pages
  fadump kernel build --source ~/linux    your own tree; again, and only what has changed is built
  fadump kernel build --preserve          the kernel in front of it, as in petitboot
  fadump kernel list --json               every kernel that has been built from Debian's source, with its files
"""


def add_parser(commands: Commands) -> None:
    """Add the command to the main parser, with its own two."""
    group = add_group(
        commands,
        "kernel",
        summary="build a FADump kernel, list those that are there",
        description="Build a Linux kernel with FADump from the distribution's source package, "
        "once, into a cache, or from a source tree of yours; list what is there.",
        example=_EXAMPLE,
    )
    build = add_command(
        group,
        "build",
        _build,
        summary="build a kernel, unless it is there",
        description="Build a kernel, unless it is there: about 10 minutes on 2 processors. Options in FRAGMENT go on "
        "top of our own. With --source, build a tree of yours as it is; its objects are kept in the cache, so the next "
        "build takes what has changed. Nothing is written into the tree, and a .config in it doesn't count: the kernel "
        "is configured as Debian's source is here. The file that is printed is what 'fadump run --kernel' takes.",
        example="example:\n  fadump kernel build --source ~/linux --config debug.config\n",
    )
    build.add_argument(
        "--version",
        "--kernel-version",
        metavar="SERIES",
        dest="series",
        help="the Linux version, as Debian's package linux-source-SERIES has it, or newest "
        f"(default: {DEFAULT_SERIES})",
    )
    build.add_argument("--source", type=path, metavar="DIR", help="a Linux source tree, instead of a --version")
    build.add_argument(
        "--config",
        type=path,
        metavar="FRAGMENT",
        help="options that are set otherwise, or more of them, as in .config",
    )
    build.add_argument(
        "--page-size",
        choices=PAGE_SIZES,
        default=DEFAULT_PAGE_SIZE,
        help="the kernel's page size (default: %(default)s)",
    )
    build.add_argument(
        "--preserve",
        action="store_true",
        help="a kernel as in petitboot (CONFIG_PRESERVE_FA_DUMP): it takes no dump, and preserves one for the kernel "
        "that it starts",
    )
    add_command(
        group,
        "list",
        _list,
        summary="list the kernels that have been built",
        description="List the kernels that have been built from Debian's source, one a line: release, page size, "
        "state, file to boot. The state is default: what 'fadump run --machine qemu' and 'fadump image build' take; "
        "current: what they take when it is asked for; outdated: built from an older configuration, taken by nothing "
        "but a --kernel of yours.",
        example="example:\n  fadump kernel list --json\n",
    )


def _build(options: argparse.Namespace, _output: Output) -> Answer:
    kernel = _from_package(options) if options.source is None else _from_tree(options)
    return Answer(kernel.as_json(), _line(kernel))


def _from_package(options: argparse.Namespace) -> Kernel:
    on_top = {
        **(preserve_options() if options.preserve else NO_OPTIONS),
        **(NO_OPTIONS if options.config is None else read_fragment(options.config)),
    }
    series = DEFAULT_SERIES if options.series is None else options.series
    return build_kernel(series, options.page_size, on_top)


def _from_tree(options: argparse.Namespace) -> TreeKernel:
    if options.series is not None:
        raise UsageError("--version is Debian's source, and --source a tree of yours: give one of them")
    if options.preserve:
        raise UsageError(
            "--preserve goes with Debian's source, not with a --source of yours: configure that by --config"
        )
    return build_tree(options.source, options.config, options.page_size)


def _list(_options: argparse.Namespace, _output: Output) -> Answer:
    kernels = list_kernels()
    return Answer({"kernels": [kernel.as_json() for kernel in kernels]}, listing="\n".join(map(_line, kernels)))


def _line(kernel: Kernel | TreeKernel) -> str:
    words = [kernel.release, kernel.page_size]
    if isinstance(kernel, Kernel):
        options = [f"CONFIG_{name}={value}" for name, value in kernel.options.items()]
        words.append(f"{kernel.state} with {with_others(options)}" if options else kernel.state)
    return "  ".join([*words, str(kernel.bootable)])
