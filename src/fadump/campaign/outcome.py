"""What a run has come to, by its exit code and the JSON object that it has printed."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from fadump.observer import Milestone


class Outcome(StrEnum):
    """In a word, the best first."""

    SAME = "same"
    """Linux and the model do the same."""
    SAVED = "saved"
    """The command's exit code is 0."""
    NEVER_STRUCK = "never-struck"
    """The dump is saved, and the fault that was asked for didn't happen."""
    OTHERWISE = "saved-but"
    """The dump is saved, and something else is wrong: its error says what."""
    UNRELEASED = "unreleased"
    """The dump is saved, but its memory is not given back, or not registered again."""
    DIFFERENT = "different"
    """The dump is saved, and isn't what the machine was; or Linux and the model differ."""
    NOT_REGISTERED = "not-registered"
    """Linux has not registered; what is saved is kdump's."""
    LOST = "lost"
    """There is no dump."""
    TOO_LONG = "timeout"
    """It was ended as it took too long."""
    BROKEN = "broken"
    """The command itself has ended otherwise than it should."""
    NOT_TRIED = "not-tried"
    """Something is missing for it."""

    @property
    def is_good(self) -> bool:
        """Whether the run has come to its end as it should."""
        return self in (Outcome.SAME, Outcome.SAVED)

    @property
    def is_final(self) -> bool:
        """Whether there is nothing to be learnt by running it again."""
        return self is not Outcome.NOT_TRIED


@dataclass(frozen=True, slots=True)
class Cost:
    """What a run has taken: time, processor time of all its processes, the most memory that one of them had."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    memory_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Run:
    """A run that has ended. ``error`` is its first line where it isn't good; ``phase`` the milestone that it was on
    the way to. ``files`` are what is kept of it, by name; ``began`` is in UTC, as ISO 8601 has it.
    """

    outcome: Outcome
    exit_code: int | None
    error: str | None
    phase: str | None
    cost: Cost
    host: str
    began: str
    files: Mapping[str, bytes] = field(default_factory=dict)


_FAILED = 1
_BY_EXIT_CODE = {0: Outcome.SAVED, 2: Outcome.NOT_TRIED, 125: Outcome.NOT_TRIED}
_AFTER_SAVING = (Milestone.RELEASED, Milestone.PRODUCTION)


def outcome_of(exit_code: int, answer: Mapping[str, object] | None) -> Outcome:
    """What a command that has ended by itself has come to; ``answer`` is its object, None: it has printed none."""
    if answer is None or exit_code not in (*_BY_EXIT_CODE, _FAILED):
        return Outcome.BROKEN
    if exit_code == _FAILED:
        return _failed(answer)
    return Outcome.SAME if answer.get("result") == "same" else _BY_EXIT_CODE[exit_code]


def _failed(answer: Mapping[str, object]) -> Outcome:
    match answer.get("result"):
        case "different":
            return Outcome.DIFFERENT
        case "not-registered":
            return Outcome.NOT_REGISTERED
        case "saved":
            return Outcome.NEVER_STRUCK if answer.get("never_struck") else Outcome.OTHERWISE
    return Outcome.UNRELEASED if answer.get("phase") in _AFTER_SAVING else Outcome.LOST


def read_answer(printed: bytes) -> Mapping[str, object] | None:
    """The object that a command has printed; None if it is none."""
    try:
        answer = json.loads(printed)
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None


def first_line(text: str) -> str:
    """The first line of an error that says something."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "")
