"""What a capture has come to: what the command prints, hooks and notifications are told, and a script reads."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

from fadump.printable import in_a_line
from fadump.progress import binary_size
from fadump.service.crash import Crash


class Result(StrEnum):
    """How it has ended."""

    NOTHING = "nothing"
    """There was no dump."""
    SAVED = "saved"
    INCOMPLETE = "incomplete"
    """Saved, with gaps: some of the dump could not be read."""
    FAILED = "failed"
    """No target has it. The firmware does."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A target that didn't take the dump, and why."""

    target: str
    error: str

    @property
    def sentence(self) -> str:
        """Both, with the target's name once."""
        return self.error if self.error.startswith(f"{self.target} ") else f"{self.target}: {self.error}"


@dataclass(frozen=True, slots=True)
class Captured:
    """The result. ``where`` the dump is, on ``target``; ``proof`` says what has been proven of it. ``already`` says
    that it was there from an attempt before. ``errors`` are what is wrong though it is saved."""

    result: Result
    crash: Crash | None = None
    target: str | None = None
    where: str | None = None
    size_bytes: int | None = None
    proof: str | None = None
    already: bool = False
    released: bool = False
    registered: bool = False
    attempts: Sequence[Attempt] = ()
    removed: Sequence[str] = ()
    errors: Sequence[str] = ()
    remarks: Sequence[str] = ()

    def as_json(self) -> Mapping[str, object]:
        """For programs."""
        told = asdict(self)
        size_bytes = told.pop("size_bytes")
        return told | {"bytes": size_bytes}

    @property
    def environment(self) -> Mapping[str, str]:
        """For programs that are started; what isn't known is empty."""
        crash = self.crash or Crash("")
        values = {
            "FADUMP_RESULT": self.result.value,
            "FADUMP_TARGET": self.target,
            "FADUMP_WHERE": self.where,
            "FADUMP_CRASH_TIME": crash.time,
            "FADUMP_KERNEL": crash.release,
            "FADUMP_CAUSE": crash.cause,
            "FADUMP_RELEASED": int(self.released),
        }
        return {name: "" if value is None else str(value).replace("\0", "") for name, value in values.items()}

    @property
    def error(self) -> str | None:
        """What is wrong, in one sentence; None: nothing."""
        match self.result:
            case Result.FAILED:
                tried = "; ".join(attempt.sentence for attempt in self.attempts)
                why = "; ".join(filter(None, [tried, *self.errors]))
                return f"the dump is not saved, and nothing is released: {why}"
            case Result.INCOMPLETE:
                return "; ".join([f"{self.where} has gaps, as the dump could not be read as a whole", *self.errors])
        return "; ".join(self.errors) or None

    def text(self) -> str:
        """For people."""
        if self.result is Result.NOTHING:
            return "there is no dump to save"
        lines = [f"not saved to {attempt.target}: {attempt.error}" for attempt in self.attempts]
        if self.result is Result.FAILED:
            lines = []  # the error has them
        if self.where is not None:
            size = "" if self.size_bytes is None else f", {binary_size(self.size_bytes)}"
            again = "was saved before" if self.already else "saved"
            lines.append(f"{again}: {self.where}{size}; proven: {self.proof}")
        if self.crash is not None:
            lines.append(
                f"crash: {self.crash.cause or 'the log has no cause'}, Linux {self.crash.release or 'unknown'}"
            )
        lines += [f"removed: {name}" for name in self.removed]
        lines += [f"remark: {remark}" for remark in self.remarks]
        lines += [] if self.error is None else [f"error: {self.error}"]
        if self.released:
            lines.append(f"released; {'registered again' if self.registered else 'not registered'}")
        return "\n".join(map(in_a_line, lines))
