"""A pytest plugin that leaves all but some tests out, and runs these in a given order.

The command line would do for that, but not for a mutant which changes a value that a parameter's name has: pytest
refuses a test that isn't there. Here all tests of its function take its place.
"""

import os
from pathlib import Path

import pytest

CHOSEN = "MUTANTS_CHOSEN"
"""The variable of the environment that names the file with the tests, one a line."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Choose, before fixtures that several tests share decide about their order."""
    place = {test: number for number, test in enumerate(Path(os.environ[CHOSEN]).read_text().splitlines())}
    gone = place.keys() - {item.nodeid for item in items}
    instead = {_function(test): place[test] for test in gone}
    found = {item: place.get(item.nodeid, instead.get(_function(item.nodeid))) for item in items}
    chosen = {item: number for item, number in found.items() if number is not None}
    items[:] = sorted(chosen, key=chosen.__getitem__)


def _function(test: str) -> str:
    return test.partition("[")[0]
