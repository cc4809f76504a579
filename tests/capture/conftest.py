"""A crashed kernel in 32 MiB of 4K pages, each of a known class, with something to read in most of them."""

import pytest

from benchmarks.report import MIB
from benchmarks.truth import PAGE, make_truth, write_elf
from tests.capture.contents import fill

DATA_AT = MIB
"""Where memory begins in the file."""


@pytest.fixture(scope="session")
def truth():
    return make_truth(32 * MIB, symbols=1000)


@pytest.fixture(scope="session")
def vmcore(tmp_path_factory, truth):
    """Its dump, an ELF core."""
    path = tmp_path_factory.mktemp("source") / "vmcore"
    write_elf(truth, path)
    with path.open("r+b") as file:
        file.seek(DATA_AT + truth.own_pages * PAGE)
        file.write(fill(truth.pages - truth.own_pages))
    return path
