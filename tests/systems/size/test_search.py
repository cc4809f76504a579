"""The edge between sizes that do and sizes that don't, found by trying, wherever it is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fadump.systems.size.search import find_edge

MIB = 1 << 20
STEP = 8 * MIB


class System:
    """Saves with so much and more; remembers what it was tried with, in MiB."""

    def __init__(self, edge_mib):
        self.edge_bytes = edge_mib * MIB
        self.tried = []

    def __call__(self, size_bytes):
        self.tried.append(size_bytes // MIB)
        return size_bytes >= self.edge_bytes


def edge_of(system, guess_mib, most_mib=1024):
    return find_edge(system, guess_mib * MIB, most_mib * MIB, STEP)


def test_a_good_guess_is_followed_down_by_quarters_and_then_by_halves():
    system = System(100)
    edge = edge_of(system, 150)
    assert system.tried == [152, 112, 80, 96, 104]
    assert (edge.least_bytes, edge.most_bytes) == (104 * MIB, 96 * MIB)


def test_a_guess_that_is_too_low_is_raised_by_halves():
    system = System(300)
    edge = edge_of(system, 100)
    assert system.tried == [104, 160, 240, 360, 296, 328, 312]
    assert (edge.least_bytes, edge.most_bytes) == (312 * MIB, 296 * MIB)


def test_where_even_the_most_is_too_little_there_is_no_edge():
    system = System(500)
    assert edge_of(system, 100, most_mib=256) is None
    assert system.tried == [104, 160, 240, 256]


def test_a_system_that_needs_nothing_is_tried_down_to_one_step():
    edge = edge_of(System(0), 100)
    assert (edge.least_bytes, edge.most_bytes) == (8 * MIB, 0)


@given(edge_mib=st.integers(1, 4096), guess_mib=st.integers(1, 4096))
def test_the_edge_is_within_a_step_or_a_sixteenth_of_what_is_found(edge_mib, guess_mib):
    system = System(edge_mib)
    edge = edge_of(system, guess_mib, most_mib=4096)
    assert edge.most_bytes < system.edge_bytes <= edge.least_bytes
    assert edge.least_bytes - edge.most_bytes <= max(STEP, edge.least_bytes / 16)
    assert len(system.tried) == len(set(system.tried)) <= 24


@pytest.mark.parametrize("most_mib", [8, 100])
def test_no_size_is_larger_than_may_be(most_mib):
    system = System(5)
    edge_of(system, 1000, most_mib)
    assert max(system.tried) == most_mib // 8 * 8
