"""A machine, a firmware and whoever watches them, whose every step a test has written down."""

import itertools
from contextlib import contextmanager

from fadump.cycle import CycleRequest, run_cycle
from fadump.firmware.contract import (
    Answer,
    CallName,
    FirmwareCall,
    PassThrough,
    PreservedDump,
    State,
    Trigger,
    TriggerKind,
)
from fadump.machine.channel import (
    BootMode,
    Crashing,
    Hello,
    KdumpLoaded,
    LoadKdump,
    Registered,
    Released,
    Saved,
    Saving,
    SavingProgress,
)
from fadump.machine.contract import Handover, KdumpStart, Stopped
from fadump.memory.devicetree import DeviceTree, Node
from fadump.memory.ranges import Range, RangeSet

REGISTER, OS_TERM, INVALIDATE, UNREGISTER = 1, 2, 3, 4
KEEP = RangeSet([Range(0x1000, 0x9000)])
DUMP = PreservedDump((), b"", RangeSet([Range(0, 0x1000)]), KEEP)


def call(token):
    return FirmwareCall(0, token, (), 1, 0x100)


def handover(boot):
    return Handover(boot, DeviceTree(Node("", {}, []), [], 0))


def hello(mode=BootMode.FIRST, enabled=True, kdump_bytes=0):
    return Hello(mode, "6.12", 2, 1 << 30, 0x10000, enabled, enabled, None, kdump_bytes)


FIRST_BOOT = [handover(1), call(REGISTER), hello()]
REGISTERED = [Registered(0x8000, b"")]
CRASH = [Crashing(0), call(OS_TERM), handover(2), hello(BootMode.CAPTURE)]
SAVE = [Saving(500), SavingProgress(250), Saved(500)]
RELEASE = [call(INVALIDATE), Released(4096)]
PRODUCTION = [call(REGISTER), Registered(0x8000, b"")]
FALLEN_BACK = [handover(1), hello(enabled=False, kdump_bytes=0x1000)]
LOAD_KDUMP = LoadKdump(Range(0, 5), Range(5, 7))
KDUMP_LOADED = KdumpLoaded(Range(0x8000, 0x9000), "too little")
KDUMP_CRASH = [Crashing(0), KdumpStart(), hello(BootMode.KDUMP, enabled=False)]
WHOLE = FIRST_BOOT + REGISTERED + CRASH + SAVE + RELEASE + PRODUCTION


class ScriptedMachine:
    """Plays events from a list and notes what is done to it."""

    memory = None
    segments = ()

    def __init__(self, events, *, has_channel=True, ends_itself=False):
        self.guest = self if has_channel else None
        self.kexec = self if has_channel else None
        self.events = iter([*events, Stopped("end of script", ["last line"])])
        self.ends_itself = ends_itself
        self.done = []

    def next_event(self, seconds):
        return next(self.events)

    def start_boot(self, start):
        self.done.append(("start", dict(start.tree.root.properties)))

    def enter(self, handover, tokens):
        self.done.append(("enter", handover.boot))

    def answer(self, call, outcome):
        self.done.append("passed through" if outcome == PassThrough() else ("answer", outcome.status))

    def end(self, call):
        if self.ends_itself:
            self.done.append("end")
        return self.ends_itself

    def crash_firmware(self):
        self.done.append("crash_firmware")

    def cpus(self):
        return []

    def reset(self, keep, hash_tables=()):
        self.done.append(("reset", keep))

    def stand_still(self, point):
        return False

    def forget_kept(self):
        self.done.append("forget_kept")

    def ask(self, request):
        self.done.append(request)

    @contextmanager
    def lent_kernel(self):
        yield LOAD_KDUMP
        self.done.append("taken back")

    def stop_at_kdump(self, entry):
        self.done.append(("stop at", entry))

    def start_kdump(self):
        self.done.append("start kdump")

    def inject_nmi(self):
        self.done.append("inject_nmi")

    def press_reset(self):
        self.done.append("press_reset")

    def halt(self):
        self.done.append("halt")


class ScriptedFirmware:
    """As much of a firmware as the cycle's order needs."""

    tokens = frozenset({REGISTER, OS_TERM, INVALIDATE, UNREGISTER})
    nmi_limit_ms = 0

    def __init__(self):
        self.state = State.IDLE
        self.preserved = None

    def name_of(self, call):
        return {
            REGISTER: CallName.REGISTER,
            OS_TERM: CallName.TERMINATE,
            INVALIDATE: CallName.INVALIDATE,
            UNREGISTER: CallName.UNREGISTER,
        }[call.token]

    def call(self, call, memory):
        match call.token:
            case 1:
                self.state = State.REGISTERED
            case 2:
                return Trigger(TriggerKind.OS_TERM, "crash", 0)
            case 4:
                self.state = State.IDLE
            case _:
                self.state = State.INVALIDATED
        return Answer(0)

    def preserve(self, trigger, memory, cpus):
        self.state = State.ACTIVE
        return DUMP

    def describe(self, tree):
        pass

    def on_reset(self):
        self.state = State.IDLE


class Witness:
    def __init__(self):
        self.calls = []
        self.triggers = []

    def milestone(self, milestone, at_seconds): ...
    def preserved(self, dump, at_seconds): ...
    def report(self, report): ...
    def handed_over(self, handover): ...

    def firmware_call(self, call, outcome, at_seconds):
        self.calls.append(call.token)

    def seen(self, seen, at_seconds): ...

    def terminated(self, trigger, at_seconds):
        self.triggers.append(trigger)


def run(events, witness=None, **request):
    machine = ScriptedMachine(events)
    seconds = itertools.count().__next__
    result = run_cycle(machine, ScriptedFirmware(), CycleRequest(**request), witness or Witness(), clock=seconds)
    return machine, result
