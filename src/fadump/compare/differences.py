"""The differences between two kernels, with or without an explanation."""

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from fadump.compare.configuration import Configuration
from fadump.compare.seen import Moment

_MISSING = "nothing was asked"


@dataclass(frozen=True, slots=True)
class Difference:
    """The answers to ``question`` at ``moment`` differ: the lines of Linux only, and those of the model only."""

    configuration: Configuration
    moment: str
    question: str
    linux: tuple[str, ...]
    model: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why the two differ, and the line of Linux that causes it."""

    name: str
    reason: str
    source: str
    explains: Callable[[Difference], bool]


@dataclass(frozen=True, slots=True)
class Compared:
    """One configuration's differences: those without an explanation, and those with one."""

    differences: tuple[Difference, ...]
    explained: tuple[tuple[Difference, Explanation], ...]


def compare(
    configuration: Configuration,
    linux: Sequence[Moment],
    model: Sequence[Moment],
    explanations: Sequence[Explanation] = (),
) -> Compared:
    """Compare all answers of Linux with the model's."""
    differences, explained = [], []
    for difference in _differences(configuration, linux, model):
        explanation = next((found for found in explanations if found.explains(difference)), None)
        if explanation is None:
            differences.append(difference)
        else:
            explained.append((difference, explanation))
    return Compared(tuple(differences), tuple(explained))


def _differences(
    configuration: Configuration, linux: Sequence[Moment], model: Sequence[Moment]
) -> Iterator[Difference]:
    told = {moment.name: moment.answers for moment in model}
    seen = {moment.name: moment.answers for moment in linux}
    for name in dict.fromkeys((*seen, *told)):
        for question, *answers in _side_by_side(seen.get(name, {}), told.get(name, {})):
            if answers[0] != answers[1]:
                yield Difference(configuration, name, question, *_only(*answers))


def _side_by_side(linux: Mapping[str, str], model: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    for question in dict.fromkeys((*linux, *model)):
        yield question, linux.get(question, _MISSING), model.get(question, _MISSING)


def _only(linux: str, model: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The lines in which each of two texts differs from the other; the whole texts if only line feeds differ."""
    ours, theirs = linux.split("\n"), model.split("\n")
    only_ours, only_theirs = list[str](), list[str]()
    for tag, start, end, other_start, other_end in difflib.SequenceMatcher(None, ours, theirs, False).get_opcodes():
        if tag != "equal":
            only_ours += ours[start:end]
            only_theirs += theirs[other_start:other_end]
    return tuple(only_ours), tuple(only_theirs)
