"""Debian's own kernel for ppc64el, as it is: it has no FADump, and no CONFIG_PRESERVE_FA_DUMP."""

import re

from fadump.kit.debian import ARCHITECTURE, fetch, package_names

SUITE = "bookworm"


def fetch_debian_kernel():
    """The package of Debian 12's newest kernel."""
    names = package_names("linux-image-6.1", SUITE, ARCHITECTURE)
    numbers = {int(match[1]): match[0] for name in names if (match := re.fullmatch(r".*-(\d+)-powerpc64le", name))}
    return fetch(numbers[max(numbers)], suites=[SUITE]).path
