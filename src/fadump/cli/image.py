"""``fadump image``: make a disk image with a whole Debian, list those that are there."""

import argparse

from fadump.cli.output import Answer, Output
from fadump.cli.parser import Commands, add_command, add_group
from fadump.kit.kernel import DEFAULT_PAGE_SIZE, DEFAULT_SERIES, PAGE_SIZES, build_kernel
from fadump.progress import binary_size
from fadump.systems.crashkernel import check_crashkernel
from fadump.systems.debian_image_packages import SUITES, Added
from fadump.systems.image import DEFAULT_CRASHKERNEL, Image, build_image, list_images

_EXAMPLE = """example:
  fadump image build                                    a Debian with FADump and kdump-tools, in 7 minutes
  fadump vm --snapshot --disk "$(fadump image build --json | jq -r .path)"      boot it
"""


def add_parser(commands: Commands) -> None:
    """Add the command to the main parser, with its own two."""
    group = add_group(
        commands,
        "image",
        summary="make a disk image with a whole Debian, list those that are there",
        description="Make a disk image with a whole Debian for ppc64el, once, into a cache; list what is there.",
        example=_EXAMPLE,
    )
    build = add_command(
        group,
        "build",
        _build,
        summary="make an image, unless it is there",
        description="Make a disk image that boots by itself on pseries, unless it is there: GRUB, a kernel with "
        "FADump, an initramfs, systemd, kdump-tools. It takes 7 minutes on 2 processors, and 10 more if the kernel "
        "isn't there. Nothing of it needs root.",
        example="example:\n  fadump image build --suite bookworm --crashkernel 768M\n"
        "  fadump image build --add openssh-server --add ./mine_1-1_all.deb\n",
    )
    build.add_argument(
        "--kernel-version",
        metavar="SERIES",
        default=DEFAULT_SERIES,
        help="the Linux version, or newest (default: %(default)s)",
    )
    build.add_argument(
        "--page-size",
        choices=PAGE_SIZES,
        default=DEFAULT_PAGE_SIZE,
        help="the kernel's page size (default: %(default)s)",
    )
    build.add_argument(
        "--suite",
        choices=SUITES,
        help="the Debian suite (default: the first of these of which the mirror has all that is needed)",
    )
    build.add_argument(
        "--crashkernel",
        type=_crashkernel,
        metavar="SIZE",
        default=DEFAULT_CRASHKERNEL,
        help="boot memory, as the kernel's command line has it, 320M or more (default: %(default)s)",
    )
    build.add_argument(
        "--add",
        metavar="PACKAGE",
        action="append",
        default=[],
        help="have this package in it, too, with what it depends on: one of Debian's by its name, or a .deb file; may "
        "be given several times",
    )
    build.add_argument(
        "--update", action="store_true", help="ask the mirror for newer packages; if there are any, make a new image"
    )
    add_command(
        group,
        "list",
        _list,
        summary="list the images that have been made",
        description="List the images that have been made, one a line: name, suite, kernel, page size, what it takes of "
        "the disk, when it was made (UTC), file.",
        example="example:\n  fadump image list --json\n",
    )


def _build(options: argparse.Namespace, _output: Output) -> Answer:
    added = Added.of(options.add)
    kernel = build_kernel(options.kernel_version, options.page_size)
    suites = [options.suite] if options.suite else SUITES
    image = build_image(kernel, crashkernel=options.crashkernel, suites=suites, update=options.update, added=added)
    return Answer(image.as_json(), _line(image))


def _crashkernel(text: str) -> str:
    try:
        check_crashkernel(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _list(_options: argparse.Namespace, _output: Output) -> Answer:
    images = list_images()
    return Answer({"images": [image.as_json() for image in images]}, listing="\n".join(map(_line, images)))


def _line(image: Image) -> str:
    made = [binary_size(image.disk_bytes), f"{image.built:%Y-%m-%d %H:%M}"]
    added = [f"with {', '.join(image.added)}"] if image.added else []
    return "  ".join([image.name, image.suite, image.release, image.page_size, *made, *added, str(image.path)])
