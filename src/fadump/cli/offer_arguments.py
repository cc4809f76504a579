"""The options that say what the pseries firmware offers, for people who make prototypes of firmware."""

import argparse

from fadump.cli.section_arguments import add_section_sizes
from fadump.firmware.pseries import Offer
from fadump.kernel.plan.map_text import parse_range
from fadump.memory.ranges import Range, RangeSet


def add_offer_arguments(parser: argparse.ArgumentParser) -> None:
    """Sizes of the sections that the firmware fills, and memory that it reserves."""
    add_section_sizes(parser)
    parser.add_argument(
        "--reserved", type=_range, action="append", default=[], metavar="START..END",
        help="memory that our firmware names in reserved-ranges, besides its own; once for each range",
    )  # fmt: skip


def offer(options: argparse.Namespace) -> Offer:
    """What these options say."""
    return Offer(options.hpte_size, options.cpu_state_size, RangeSet(options.reserved))


def _range(text: str) -> Range:
    try:
        return parse_range(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
