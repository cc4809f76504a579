"""A function that did something wrong, or found out that something was: faults, checks, and panic()'s callers."""

import re

from fadump.linux.cpus.cpu import Cpu
from fadump.report.verdict.contract import Certainty, Evidence, Verdict
from fadump.report.verdict.places import FAULTS, FETCHES, PLACE, Place

_BUG_AT = re.compile(r"kernel BUG at (\S+)!")
_WARNED_AT = (
    re.compile(rf"WARNING: .*? at (?P<line>\S+:\d+) {PLACE}"),
    re.compile(rf"WARNING: (?P<line>\S+:\d+) at {PLACE}"),  # of newer kernels
)
_MEMORY_SPOILT = re.compile(r"(?i)\w*corrupt\w*|bad page|use-after-free|double free|poison|stack end")
_NULL = re.compile(r"NULL pointer|(?:at|address) 0x0{0,13}[0-9a-f]{1,3}\b")
_FAULT = re.compile(r"Unable to handle|BUG:|Oops|Unrecoverable|Bad kernel stack|stack")
_PROGRAM_CHECK, _DATA_STORAGE = 0x700, 0x300
_DSISR_PROTECTED, _DSISR_STORE = 0x0800_0000, 0x0200_0000
_LARGEST_NULL = 0x1000


def of_stack_protector(evidence: Evidence) -> Verdict | None:
    """A function whose own frame on the stack has been written over."""
    if "stack-protector: Kernel stack is corrupted" not in evidence.panic:
        return None
    what = "A function wrote behind its variables on the stack"
    step = "Read that function, and those that it gives the addresses of its variables to: which writes too much?"
    return _blaming(evidence, what, evidence.place, evidence.from_log, step, is_own=True)


def of_bug(evidence: Evidence) -> Verdict | None:
    """BUG(), or a warning where the kernel is set to panic then."""
    place = evidence.place
    found = _BUG_AT.search(evidence.cause)
    if found is not None:
        what = f"The kernel stopped at a check of its own, at {found[1]}"
    elif warned := _warned(evidence):
        what = f"The kernel warned at {warned['line']}, and is set to panic then"
        if place is None or not place.through:
            place = Place(warned[2], warned[3] or "", "by the log", None if place is None else place.at)
    else:
        return None
    because = [*evidence.from_log, *(f"just before, it says: {text}" for text in _told_before(evidence))]
    return _blaming(evidence, what, place, because, "Read the check at that line: what it tests has gone wrong before.")


def _warned(evidence: Evidence) -> re.Match[str] | None:
    if "panic_on_warn" not in evidence.panic:
        return None
    return next((found for pattern in _WARNED_AT if (found := pattern.search(evidence.cause)) is not None), None)


def _told_before(evidence: Evidence) -> list[str]:
    """What a check says is wrong, before it stops the kernel."""
    return [text for text in evidence.before if _MEMORY_SPOILT.search(text) is not None][-1:]


def of_fault(evidence: Evidence) -> Verdict | None:
    """An access or an instruction that is wrong."""
    trap = _fault_trap(evidence.cpu)
    if _FAULT.search(evidence.cause) is None and trap is None:
        return None
    step = "Read that function: where does the pointer come from?"
    return _blaming(evidence, _what_fault(evidence, trap), evidence.place, evidence.from_log, step)


def _what_fault(evidence: Evidence, trap: int | None) -> str:
    is_null = _NULL.search(evidence.cause) is not None
    registers = {} if evidence.cpu is None else evidence.cpu.registers
    if trap in FETCHES or "instruction fetch" in evidence.cause:
        if is_null or _jumped_to(evidence.cpu) < _LARGEST_NULL:
            return "The kernel called a function by a pointer that was NULL"
        return "The kernel jumped to an address where no code is that it may execute"
    if is_null:
        return "The kernel followed a pointer that was NULL"
    if trap == _PROGRAM_CHECK:
        return "The kernel executed an instruction that it must not"
    dsisr = registers.get("dsisr", 0) if registers.get("trap") == _DATA_STORAGE else 0
    if dsisr & _DSISR_PROTECTED and dsisr & _DSISR_STORE:
        return "The kernel wrote to memory that it may only read"
    return "The kernel accessed memory that isn't there"


def of_panic(evidence: Evidence) -> Verdict | None:
    """Whatever else panic() was called for."""
    if not evidence.panic:
        return None
    what = f"The kernel gave up: {evidence.panic}"
    because = [f"the panic says: {evidence.panic}"]
    return _blaming(
        evidence, what, evidence.place, because, "Read the log's end, and the function that called panic()."
    )


def _blaming(
    evidence: Evidence, what: str, place: Place | None, because: list[str], step: str, *, is_own: bool = False
) -> Verdict:
    """Blame a place; less surely if memory was spoilt before, unless the place ``is_own`` victim."""
    if place is None:
        return Verdict(what, evidence.where, None, Certainty.UNKNOWN, because, step)
    certainty, because = Certainty.LIKELY, [*because, place.because]
    said = "\n".join([evidence.cause, evidence.panic, *evidence.before, *evidence.texts[:40]])
    spoilt = None if is_own else _MEMORY_SPOILT.search(said)
    if spoilt is not None:
        certainty = Certainty.UNSURE
        because.append(f"memory may have been spoilt before, by somebody else: “{spoilt[0]}”")
    return Verdict(what, evidence.where, place.culprit, certainty, because, step, place.at)


def _fault_trap(cpu: Cpu | None) -> int | None:
    if cpu is None:
        return None
    traps = [cpu.registers["trap"], *(frame.trap for frame in cpu.backtrace.frames)]
    return next((trap for trap in traps if trap in FAULTS), None)


def _jumped_to(cpu: Cpu | None) -> int:
    """The address of the instruction that a fault has stopped."""
    if cpu is None:
        return _LARGEST_NULL
    frames = cpu.backtrace.frames
    return next((frame.pc for frame in frames if frame.trap in FETCHES), cpu.registers["nip"])
