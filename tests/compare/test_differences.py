from dataclasses import replace

import pytest

from fadump.compare.differences import Explanation, compare
from fadump.compare.explained import EXPLANATIONS
from fadump.compare.seen import FIRST_BOOT, RELEASED, Moment
from fadump.kernel.files.sysfs import FADUMP, REGION
from tests.compare.known import PSERIES, seen_of

FREED, PIECES = EXPLANATIONS
CMA, CMA_FAILED = "<6>crashkernel CMA", "<4>crashkernel CMA reservation failed"
WORDS = "[0x7ffff800-0x7fffffff]: cmdline append: '{}'"


def judged(linux, model, moment=FIRST_BOOT, question="messages", explanations=()):
    return compare(PSERIES, [Moment(moment, {question: linux})], [Moment(moment, {question: model})], explanations)


def test_the_same_is_no_difference():
    assert judged("a\nb", "a\nb") == compare(PSERIES, [], [])


@pytest.mark.parametrize(("linux", "model", "only_linux", "only_model"), [
    ("a\nb\nc", "a\nx\nc", ("b",), ("x",)),
    ("a\nb", "b\na", ("b",), ("b",)),  # the order counts
    ("a\n", "a", ("",), ()),
    ("absent", "444 1\n", ("absent",), ("444 1", "")),
    ("", "a", ("",), ("a",)),
])  # fmt: skip
def test_a_difference_has_the_lines_that_one_side_has(linux, model, only_linux, only_model):
    (found,) = judged(linux, model).differences
    assert (found.linux, found.model) == (only_linux, only_model)
    assert (found.configuration, found.moment, found.question) == (PSERIES, FIRST_BOOT, "messages")


def test_what_only_one_was_asked_is_a_difference():
    moments = [Moment(FIRST_BOOT, {"messages": "a"}), Moment(RELEASED, {"messages": "b"})]
    (found,) = compare(PSERIES, moments, moments[:1]).differences
    assert (found.moment, found.linux, found.model) == (RELEASED, ("b",), ("nothing was asked",))
    (found,) = compare(PSERIES, [], moments[:1]).differences
    assert found.linux == ("nothing was asked",)


def test_every_answer_of_a_whole_story_counts():
    moments = seen_of(PSERIES).moments
    for moment in moments:
        for question, answer in moment.answers.items():
            changed = Moment(moment.name, {**moment.answers, question: f"{answer}x"})
            others = [changed if other is moment else other for other in moments]
            (found,) = compare(PSERIES, moments, others, EXPLANATIONS[:0]).differences
            assert (found.moment, found.question) == (moment.name, question)


def test_an_explained_difference_is_no_longer_one_of_the_others():
    known = Explanation("known", "why", "file.c:function", lambda difference: difference.model == ("b",))
    found = judged("a", "b", explanations=(known,))
    assert not found.differences
    ((difference, explanation),) = found.explained
    assert (difference.linux, explanation) == (("a",), known)
    assert judged("a", "c", explanations=(known,)).differences


def test_explanations_are_few_and_cite_linux():
    assert len(EXPLANATIONS) <= 5
    assert all(".c:" in explanation.source and explanation.reason for explanation in EXPLANATIONS)


@pytest.mark.parametrize(("moment", "question", "linux", "model", "explained"), [
    (RELEASED, f"read {FADUMP}/bootargs_append", "644 \x07", "644 quiet", True),
    (RELEASED, f"read {FADUMP}/bootargs_append (2)", "644 a\nb", "644 quiet", True),
    (RELEASED, f"read {REGION}", WORDS.format(""), WORDS.format("quiet"), True),
    (RELEASED, f"read {REGION}", "DUMP: Src: 0", "DUMP: Src: 1", False),
    (RELEASED, f"read {FADUMP}/enabled", "444 0", "444 1", False),
    (FIRST_BOOT, f"read {FADUMP}/bootargs_append", "644 ", "644 quiet", False),
])  # fmt: skip
def test_words_in_freed_memory_are_explained_once_it_is_freed(moment, question, linux, model, explained):
    found = judged(linux, model, moment, question, (FREED,))
    assert bool(found.explained) is explained
    assert bool(found.differences) is not explained


@pytest.mark.parametrize(("question", "linux", "model", "explained"), [
    ("messages", f"{CMA} reserved: 1024 MB in 3 ranges", f"{CMA} reserved: 1024 MB in 1 ranges", True),
    (
        "messages",
        f"{CMA_FAILED}: 1024 MB requested, 384 MB reserved in 4 ranges",
        f"{CMA_FAILED}: 1024 MB requested, 480 MB reserved in 4 ranges",
        True,
    ),
    ("messages", f"{CMA} reserved: 1024 MB in 3 ranges", f"{CMA} reserved: 512 MB in 3 ranges", False),
    ("messages", f"{CMA} reserved: 1024 MB in 3 ranges", "<6>another line", False),
    ("messages", f"{CMA} reserved: 1024 MB in 3 ranges\nmore", f"{CMA} reserved: 1024 MB in 1 ranges\nless", False),
    ("read it", f"{CMA} reserved: 1024 MB in 3 ranges", f"{CMA} reserved: 1024 MB in 1 ranges", False),
])  # fmt: skip
def test_pieces_of_free_memory_are_linuxs_own(question, linux, model, explained):
    found = judged(linux, model, FIRST_BOOT, question, (PIECES,))
    assert bool(found.explained) is explained


def test_the_model_frees_the_words_too():
    """What is in the area belongs to others then, in the model as in Linux: a part of the memory that it gives back."""
    moments = {moment.name: moment.answers for moment in seen_of(replace(PSERIES, memory_mib=2304)).moments}
    (freed,) = [line for line in moments[RELEASED]["messages"].split("\n") if "freeing reserved memory" in line][-1:]
    start, end = (int(number, 16) for number in freed.rpartition("(")[2].rstrip(")").split(" - "))
    area = moments[FIRST_BOOT][f"read {REGION}"].partition("\n[")[2].partition("]")[0]
    assert start <= int(area.partition("-")[0], 16) < end
