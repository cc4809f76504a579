"""Many configurations, without QEMU: what is seen of Linux is scripted."""

import threading
from dataclasses import replace

import pytest

from fadump.compare.campaign import Subject, run
from fadump.compare.configuration import Ends
from fadump.compare.seen import FIRST_BOOT, Moment
from fadump.compare.store import Store
from fadump.errors import MachineError, SetupError
from tests.compare.known import POWERNV, PSERIES, seen_of

IN_PRODUCTION = replace(PSERIES, ends=Ends.IN_PRODUCTION, crashkernel="crashkernel=400M")
KERNEL = "linux"


@pytest.fixture(scope="module")
def stories():
    return {configuration: seen_of(configuration) for configuration in (PSERIES, POWERNV, IN_PRODUCTION)}


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path, "basis") as store:
        yield store


def subject(configuration, outcome):
    def see():
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return Subject(configuration, KERNEL, see)


def changed(seen):
    """The same, but Linux has reserved a byte more."""
    first, *others = seen.moments
    question = "read /sys/kernel/fadump/mem_reserved"
    return replace(seen, moments=[Moment(FIRST_BOOT, {**first.answers, question: "444 1\n"}), *others])


@pytest.mark.parametrize("jobs", [1, 2, 8])
def test_nothing_differs_where_linux_does_as_the_model(stories, store, jobs):
    told = []
    result = run([subject(*story) for story in stories.items()], store, jobs, told.append)
    assert result.good and not result.differences and not result.failures
    assert [judged.configuration for judged in result.judged] == list(stories)
    assert sorted(map(id, told)) == sorted(map(id, result.judged))
    assert (result.reservations, result.crashed) == (3, 2)


def test_a_difference_is_found_and_counted(stories, store):
    result = run([subject(PSERIES, changed(stories[PSERIES])), subject(POWERNV, stories[POWERNV])], store, 1, id)
    (difference,) = result.differences
    assert (difference.configuration, difference.linux) == (PSERIES, ("444 1",))
    assert not result.good and not result.failures


def test_equal_reservations_count_once(stories, store):
    result = run([subject(PSERIES, stories[PSERIES])] * 2, store, 1, id)
    assert result.reservations == 1


def test_a_guest_that_does_not_boot_is_reported_and_the_others_go_on(stories, store):
    broken = subject(PSERIES, MachineError("the guest is silent"))
    result = run([broken, subject(POWERNV, stories[POWERNV])], store, 1, id)
    (failure,) = result.failures
    assert failure.failure.startswith("the guest is silent; the console is in ")
    assert failure.failure.endswith(f"{PSERIES.key}.console.log")
    assert not result.good and result.crashed == 1 and not result.differences


@pytest.mark.parametrize("error", [SetupError("no QEMU"), OSError(28, "No space left on device"), ValueError("a bug")])
def test_what_all_need_ends_it(stories, store, error):
    with pytest.raises(type(error), match=error.args[-1]):
        run([subject(PSERIES, error), subject(POWERNV, stories[POWERNV])], store, 2, id)


def test_what_was_seen_is_not_asked_again_but_the_model_is(stories, store):
    run([subject(PSERIES, stories[PSERIES])], store, 1, id)
    nobody = subject(PSERIES, AssertionError("Linux is run again"))
    assert run([nobody], store, 1, id).good
    store.save(PSERIES, KERNEL, changed(stories[PSERIES]))
    assert run([nobody], store, 1, id).differences


def test_no_thread_is_left(stories, store):
    before = set(threading.enumerate())
    run([subject(*story) for story in stories.items()], store, 3, id)
    for thread in set(threading.enumerate()) - before:
        thread.join(60)
        assert not thread.is_alive()
