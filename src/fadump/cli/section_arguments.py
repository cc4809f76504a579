"""The options that say how large the pseries firmware's sections are: planning with them takes no firmware."""

import argparse

from fadump.cli.sizes import exact_size


def add_section_sizes(parser: argparse.ArgumentParser) -> None:
    """How large the firmware's sections are."""
    parser.add_argument(
        "--hpte-size", type=exact_size, metavar="SIZE",
        help="how much of the hash page table our firmware saves (default: 4K with a hash MMU, 0 with radix)",
    )  # fmt: skip
    parser.add_argument(
        "--cpu-state-size", type=exact_size, metavar="SIZE",
        help="how much room our firmware wants for registers (default: what all CPUs need that there can be)",
    )  # fmt: skip
