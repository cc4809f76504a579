"""What comes of a fault, told step by step, so that real Linux and the model can be compared: see :class:`Told`."""

import re
from dataclasses import dataclass
from itertools import groupby

from fadump.errors import MachineError
from fadump.firmware.contract import State
from fadump.machine.channel import BootMode, Register, Registered, Release, Released, Reregister
from fadump.session import RebootedError, RefusedError

SAID = re.compile(r"^\[ *\d+\.\d{6}\] (.*(?:fadump: |firmware-assisted|os-term|PT_NOTE|opal core: ).*)", re.MULTILINE)
_NUMBER = re.compile(r"0x[0-9a-f]+|[0-9a-f]{6,}|\d+(?=MB)|(?<=Updated cmdline: ).*")


@dataclass(frozen=True)
class Told:
    """``steps`` are what came of the crash and of what was asked for after it, ``state`` where the firmware stands.

    ``said`` is what the kernel has said about FADump meanwhile, without addresses, sizes and command lines, which are
    the machine's, as is how often a line comes.
    """

    name: str
    steps: tuple[str, ...]
    state: State
    said: tuple[str, ...]


def told(scenario, name):
    """Crash a machine in production with this fault, save, release and register again, as far as it goes."""
    start = len(scenario.console())
    scenario.firmware.clear()
    scenario.do_wrong(name)
    steps = tuple(_steps(scenario))
    said = SAID.findall(scenario.console()[start:].replace("\r", ""))
    lines = (_NUMBER.sub("N", line) for line in said)
    return Told(name, steps, scenario.firmware.state, tuple(line for line, _again in groupby(lines)))


def _steps(scenario):
    try:
        mode = scenario.crash().mode
    except MachineError:
        yield "the kernel has died"
        return
    yield mode.value
    if mode is BootMode.FIRST:
        yield _outcome(scenario, Register(), Registered)
        return
    try:
        yield "saved" if scenario.save().verdict.same else "saved, and different"
    except RefusedError as error:
        yield str(error).partition(";")[0]
    for request, answer in ((Release(), Released), (Reregister(), Registered)):
        try:
            yield _outcome(scenario, request, answer)
        except MachineError:
            yield "the kernel has died"
            return


def _outcome(scenario, request, answer):
    try:
        scenario.session.ask(request, answer)
    except RefusedError as error:
        return str(error).partition("; the kernel said: ")[0]
    except RebootedError:
        return "booted again"
    return answer.word


def back_to_production(scenario):
    """However the last story has ended, unless the kernel has died or the firmware still holds what it should not."""
    scenario.firmware.clear()
    if scenario.firmware.state is State.REGISTERED:
        return
    if scenario.press_reset().is_capture:
        scenario.session.ask(Release(), Released)
        scenario.session.ask(Reregister(), Registered)
    else:
        scenario.session.ask(Register(), Registered)
