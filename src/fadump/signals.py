"""Signals that end a command, raised as an exception, so that everything on the way out is cleaned up."""

import inspect
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
"""Sent by Ctrl-C, by whoever ends a process, by a terminal that is gone, and by Ctrl-\\."""
_HELD = (*ENDING, signal.SIGALRM)
_STATUS_OF_SIGNALS = 128


class EndedBySignal(KeyboardInterrupt):
    """A signal has come that ends the process: ``signal`` says which.

    ``phase`` and ``firmware`` are as those of a FadumpError: where the work was, if it has milestones.
    """

    def __init__(self, number: signal.Signals) -> None:
        self.signal = number
        self.phase: str | None = None
        self.firmware: str | None = None
        super().__init__("interrupted" if number is signal.SIGINT else f"ended by {number.name}")

    @property
    def exit_code(self) -> int:
        """128 and the signal's number, as a shell counts it."""
        return _STATUS_OF_SIGNALS + self.signal


class OutOfTime(EndedBySignal):
    """A command was given so many seconds, and hasn't come to its end."""

    def __init__(self, seconds: float) -> None:
        super().__init__(signal.SIGALRM)
        self.args = (f"not done within the {seconds:g} seconds of --timeout",)

    @property
    def exit_code(self) -> int:
        """That of what was tried and has failed."""
        return 1


@contextmanager
def held() -> Iterator[None]:
    """Within the block, each of :data:`ENDING` is held back; the first that has come then, or before, comes at its end.

    So is the alarm of :func:`time_limit`. For imports: an exception in the middle of one may get lost, or leave half a
    module. And for what locks: the lock may stay taken. A thread that is started within the block gets no signal, ever;
    one that isn't may be given what is held back here, which is raised at once then.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)
    try:
        yield
    finally:
        have_come = [number for number in _HELD if number in signal.sigpending()]
        for number in [number for number in have_come if signal.getsignal(number) is not signal.SIG_IGN][1:]:
            signal.sigwait([number])
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD)


@contextmanager
def raising() -> Iterator[None]:
    """Within the block, each of :data:`ENDING` raises :class:`EndedBySignal`. What is ignored stays so, as by nohup."""
    before = {number: signal.getsignal(number) for number in ENDING}
    hook = sys.unraisablehook

    def unraisable(lost: "sys.UnraisableHookArgs") -> None:
        if isinstance(lost.exc_value, EndedBySignal):
            _raise_later(lost.exc_value, inspect.currentframe())
        else:
            hook(lost)

    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, _raise)
    sys.unraisablehook = unraisable
    try:
        yield
    finally:
        sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def time_limit(seconds: float | None) -> Iterator[None]:
    """Within the block, :class:`OutOfTime` is raised after so many seconds; None: never."""
    if seconds is None:
        yield
        return

    def ring(_number: int, _frame: FrameType | None) -> None:
        raise OutOfTime(seconds)

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def ignoring() -> Iterator[None]:
    """Within the block, none of :data:`ENDING` ends the process: what is said there is said to its end."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _raise(number: int, _frame: FrameType | None) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a terminal that goes tells it more than once
    raise EndedBySignal(signal.Signals(number))


def _raise_later(error: EndedBySignal, hook: FrameType | None) -> None:
    """Raise an error in what has called the ``hook``, at the next line that is run there or the next call.

    For a signal that comes while something goes, or within a weak reference's callback, as each import has one: no
    exception gets out of these.
    """
    before = sys.gettrace()

    def trace(_frame: FrameType, _event: str, _value: object) -> None:
        sys.settrace(before)
        raise error

    frame = hook
    while frame is not None and (frame := frame.f_back) is not None:
        frame.f_trace = trace
    sys.settrace(trace)
