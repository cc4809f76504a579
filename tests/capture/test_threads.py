"""Work in threads: results in order, errors in their place, nothing left behind."""

import signal
import threading

import pytest

from fadump.capture.threads import InOrder
from fadump.signals import EndedBySignal, raising, time_limit


def test_results_come_in_the_order_of_the_work_whoever_is_done_first():
    second_is_done = threading.Event()

    def work(piece):
        if piece == 0:
            assert second_is_done.wait(60)
        if piece == 1:
            second_is_done.set()
        return piece * piece

    with InOrder(2) as threads:
        assert list(threads.map(work, range(20))) == [piece * piece for piece in range(20)]


def test_an_error_is_raised_in_the_place_of_its_result_and_the_threads_end():
    before = threading.active_count()

    def work(piece):
        if piece == 2:
            raise OSError(5, "of piece 2")
        return piece

    results = []
    with pytest.raises(OSError, match="of piece 2"), InOrder(1) as threads:
        results.extend(threads.map(work, range(100)))
    assert results == [0, 1]
    assert threading.active_count() == before


def test_only_a_few_pieces_are_taken_ahead_and_what_waits_is_dropped():
    taken, done = [], []

    def pieces():
        for piece in range(1000):
            taken.append(piece)
            yield piece

    with InOrder(2) as threads:
        assert next(threads.map(lambda piece: done.append(piece) or piece, pieces())) == 0
    assert len(taken) == 5 and set(done) <= set(taken)


def test_no_more_threads_are_started_than_there_are_pieces():
    before = threading.active_count()
    with InOrder(1000) as threads:
        assert list(threads.map(lambda piece: piece, range(3))) == [0, 1, 2]
        assert threading.active_count() <= before + 3
    assert threading.active_count() == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGALRM])
def test_a_signal_is_raised_between_two_pieces_and_not_within_the_pool_where_it_could_leave_a_lock_taken(number):
    main_thread_waits = threading.Event()

    def work(piece):
        if piece == 0:
            assert main_thread_waits.wait(60)
            signal.pthread_kill(threading.main_thread().ident, number)  # of all threads that one, whoever else is there
        return piece

    def pieces():
        yield 0
        main_thread_waits.set()

    with pytest.raises(EndedBySignal) as raised, raising(), time_limit(60), InOrder(1) as threads:
        list(threads.map(work, pieces()))
    files = [entry.path.parts[-2:] for entry in raised.traceback]
    assert ("capture", "threads.py") in files
    assert not [parts for parts in files if parts[0] in ("concurrent", "futures") or parts[1] == "threading.py"]
