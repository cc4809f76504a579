"""What the firmware sees of a system, one line an event: a sentence for people, or a JSON object for programs."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field

from fadump.firmware.contract import FirmwareCall, Outcome, PreservedDump
from fadump.look import Look
from fadump.memory.ranges import Range
from fadump.observer import Milestone, Seen, Unwatched
from fadump.printable import counted
from fadump.progress import Tone
from fadump.run.output import call_text, outcome_text

_MIB = 1 << 20
_TEXTS = {
    Seen.REGISTERED: "the kernel has registered: a crash will be dumped",
    Seen.UNREGISTERED: "the kernel has unregistered: a crash would not be dumped",
    Seen.CRASHED: "crash: the firmware takes over",
    Seen.RESET: "reset: nothing is registered any more",
    Seen.CAPTURE_BOOT: "a kernel is entered that is told of the dump",
    Seen.INVALIDATED: "the kernel has invalidated the dump",
}
_TONES: dict[str, Tone] = {
    **dict.fromkeys((Seen.REGISTERED, Seen.PRESERVED, Seen.CAPTURE_BOOT, Seen.INVALIDATED), Tone.DONE),
    Seen.CRASHED: Tone.BAD,
}


@dataclass(frozen=True, slots=True)
class SystemEvent:
    """Something that the firmware has seen, so many seconds after power-on; ``details`` are for programs."""

    name: str
    at_seconds: float
    text: str
    details: dict[str, object] = field(default_factory=dict)

    def as_text(self) -> str:
        """One line, without its end."""
        return f"{self.at_seconds:8.2f} s  {self.text}"

    def tell(self, look: Look) -> None:
        """Show it as a line of a story."""
        look.reached(self.text, self.at_seconds, _TONES.get(self.name, Tone.NOTE))

    def as_json(self) -> str:
        """One line, without its end: an object with ``event``, ``at_seconds`` and the details."""
        return json.dumps({"event": self.name, "at_seconds": round(self.at_seconds, 3)} | self.details)


class EventLog(Unwatched):
    """Turns what a session sees into events; with ``calls`` each call of the firmware is one, too."""

    def __init__(self, tell: Callable[[SystemEvent], None], *, calls: bool = False) -> None:
        self._tell = tell
        self._calls = calls
        self._has_unregistered = False
        self._goes_down = False
        self._kept: Range | None = None

    def milestone(self, milestone: Milestone, at_seconds: float) -> None:
        """A system that is in production after its crash is asked to power off."""
        self._goes_down = milestone is Milestone.PRODUCTION

    def seen(self, seen: Seen, at_seconds: float) -> None:
        if seen is not Seen.PRESERVED:  # preserved() has more to say
            text = _TEXTS[seen]
            if seen is Seen.UNREGISTERED and self._goes_down:
                text = "the kernel has unregistered, as a part of its shutdown"
            if seen is Seen.RESET and self._has_unregistered:
                text = "reset: the kernel had unregistered as a part of its shutdown"
            self._tell(SystemEvent(seen, at_seconds, text))
        if seen is Seen.INVALIDATED and self._kept is not None:
            self._tell_kept(self._kept, at_seconds)
        self._has_unregistered = seen is Seen.UNREGISTERED

    def remark(self, name: str, sentence: str, at_seconds: float) -> None:
        """What is no event of the firmware's, which has seen nothing of it."""
        self._tell(SystemEvent(name, at_seconds, sentence, {"sentence": sentence}))

    def firmware_call(self, call: FirmwareCall, outcome: Outcome, at_seconds: float) -> None:
        if self._calls:
            said, answered = call_text(call), outcome_text(outcome)
            details: dict[str, object] = {"cpu": call.cpu_id, "token": call.token, "outcome": answered}
            self._tell(SystemEvent("firmware_call", at_seconds, f"{said} -> {answered}", details))

    def preserved(self, dump: PreservedDump, at_seconds: float) -> None:
        self._kept = dump.protected
        copied = sum(region.copied_bytes for region in dump.regions)
        text = f"the firmware has copied {copied / _MIB:.0f} MiB aside, in {counted(len(dump.regions), 'region')}"
        self._tell(SystemEvent(Seen.PRESERVED, at_seconds, text, {"bytes": copied, "regions": len(dump.regions)}))

    def _tell_kept(self, page: Range, at_seconds: float) -> None:
        """What is more than LoPAR asks for; the firmware doesn't see whether this Linux has needed it."""
        text = (
            f"the firmware has kept the page with the crash-info header, at {page.start:#x}, from being freed: Linux "
            "6.10 and later free it with the dump, and use it again (with --strict it isn't kept)"
        )
        self._tell(SystemEvent("kept", at_seconds, text, {"address": page.start}))
