"""Saves that are struck, killed, cut from power and gone on with, at random: no file ever looks whole and isn't.

More than 10,000 of them, two minutes of CPU time:
    FADUMP_LONG=1 pytest tests/capture/test_stories.py
"""

import os
import shutil
import tempfile
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from fadump.capture.options import Format, SaveOptions
from fadump.capture.packers import Compression
from fadump.errors import FadumpError
from tests.capture.disk import Disk, Fault, KilledError, chooser
from tests.capture.judge import Source, in_many_records, judge, read_back
from tests.capture.saving import save_file

LONG = bool(os.environ.get("FADUMP_LONG"))
STORIES, LEAST_RUNS = (4000, 10_000) if LONG else (100, 200)
MOST_OPERATIONS = 45
SOURCE = Source()
NAME = "out"
WAYS = {
    "zlib": {},
    "plain": {"compression": Compression.NONE},
    "elf": {"format": Format.ELF},
    "split": {"compression": Compression.NONE, "split": 2},
}


@pytest.fixture(autouse=True, scope="module")
def many_records():
    with pytest.MonkeyPatch.context() as patch:
        in_many_records(patch)
        yield


@cache
def expected(way):
    """The names of the files, and the states of the pages, of a save that nothing disturbs."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        save_file(SOURCE.dump, directory / NAME, SaveOptions(**WAYS[way]))
        files = sorted(path for path in directory.iterdir() if "-dmesg.txt" not in path.name)
        _pages, states, report = read_back(files, SOURCE)
        assert report.whole
        return [path.name for path in files], states


class Story(RuleBasedStateMachine):
    """One dump, one disk, and everything that may happen to the two."""

    runs = 0
    ends = 0

    @initialize(way=st.sampled_from(sorted(WAYS)))
    def begin(self, way):
        self.options = WAYS[way]
        self.names, self.states = expected(way)
        self.directory = Path(tempfile.mkdtemp(prefix="story-"))
        self.disk = Disk(self.directory)
        self.is_saved = False

    def teardown(self):
        if hasattr(self, "directory"):
            self.disk.revive()
            shutil.rmtree(self.directory)

    @rule(faults=st.lists(st.tuples(st.sampled_from(Fault), st.integers(0, MOST_OPERATIONS)), max_size=3))
    def save(self, faults):
        """Save, or go on if there is something to go on with."""
        Story.runs += 1
        left = any(path.name.endswith(".incomplete") for path in self.directory.iterdir())
        options = SaveOptions(continued=left, **self.options)
        self.disk.plan(*sorted(faults, key=lambda fault: fault[1]))
        try:
            save_file(SOURCE.dump, self.directory / NAME, options, files=self.disk)
        except (KilledError, FadumpError):
            pass
        else:
            self.is_saved = True
            Story.ends += 1
        self.disk.check_modes()
        self.disk.revive()

    @rule(seed=st.integers(0, 1 << 32))
    def lose_power(self, seed):
        self.disk.lose_power(chooser(seed))

    @invariant()
    def nothing_is_lost_and_nothing_invented(self):
        if hasattr(self, "directory"):
            there = judge(self.directory, self.names, SOURCE, self.states)
            assert there or not self.is_saved


Story.TestCase.settings = settings(
    max_examples=STORIES, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck)
)
TestStories = Story.TestCase


def test_there_were_enough():
    """After the stories: they came to enough saves, of which some were left alone long enough to end."""
    assert Story.runs >= LEAST_RUNS
    assert Story.runs // 20 < Story.ends < Story.runs
