"""What becomes of a boot by a disk's own boot loader, where the machine doesn't see it: a sentence for its user.

Two things look like a machine that hangs, or like one that is well. SLOF finds nothing to boot, says so on the console
among much else, and waits at its prompt (slof/fs/boot.fs). Or a boot loader starts where the machine doesn't wait for
one (:mod:`fadump.machine.qemu.boot_loader`), and the kernel runs as if there were no FADump.
"""

import re
from collections.abc import Callable
from typing import Protocol

from fadump.machine.contract import ConsoleLog
from fadump.machine.qemu.registers import MSR_DR_IR, MSR_PR

LOOK_SECONDS = 5.0
_PROMPT = re.compile(rb"Ready! *\r*\n[0-9]+ > ")
_WHY = re.compile(rb"E34[0-9]{2}: [ -~]{1,200}")
_MSR = re.compile(r"^MSR ([0-9a-f]+)", re.MULTILINE)
_TAIL_BYTES = 0x1000
Tell = Callable[[str, str], None]
"""Takes what has been found, as a word for programs and a sentence for people."""


class BootingMachine(Protocol):
    """A machine that knows what its boot firmware is to do next: see
    :class:`fadump.machine.qemu.machine.QemuMachine`."""

    @property
    def awaited(self) -> str | None: ...
    def clock(self) -> float: ...
    def call_after(self, seconds: float) -> None: ...
    def monitor(self, command: str) -> str: ...


class BootWatch:
    """A console, passed on to ``screen``; and the machine that it is of, once there is one."""

    def __init__(self, screen: ConsoleLog) -> None:
        self._screen = screen
        self._tail = b""
        self._told: set[str] = set()
        self._due = 0.0

    def write(self, data: bytes, /) -> int:
        """Pass on what the guest has written."""
        self._tail = (self._tail + data)[-_TAIL_BYTES:]
        return self._screen.write(data)

    def flush(self) -> None:
        """Have nothing held back."""
        self._screen.flush()

    def begin(self, machine: BootingMachine) -> None:
        """Have the machine call in a moment: then :meth:`look`, and so on."""
        self._due = machine.clock() + LOOK_SECONDS
        machine.call_after(LOOK_SECONDS)

    def look(self, machine: BootingMachine, tell: Tell) -> None:
        """Look at the machine, if it is time to, and tell what is wrong with this boot, once."""
        if machine.clock() < self._due:  # somebody else has had it call
            return
        self.begin(machine)
        awaited = machine.awaited
        if awaited is None:
            self._told.clear()
            self._tail = b""
        elif "not_followed" not in self._told and _is_translating(machine.monitor("info registers")):
            self._tell_once(
                tell,
                "not_followed",
                f"a kernel runs without FADump: the machine has waited for {awaited}; give the kernel by --kernel",
            )
        elif _PROMPT.search(self._tail):
            reasons = [reason.decode() for reason in _WHY.findall(self._tail)]
            why = f", as it has found no boot loader ({reasons[-1]})" if reasons else ""
            self._tell_once(tell, "firmware_prompt", f"the boot firmware waits at its prompt{why}")

    def _tell_once(self, tell: Tell, name: str, sentence: str) -> None:
        if name not in self._told:
            self._told.add(name)
            tell(name, sentence)


def _is_translating(registers: str) -> bool:
    """Whether a CPU translates addresses, as kernels do, and neither SLOF nor its clients; by QEMU's monitor."""
    return any(int(msr, 16) & (MSR_DR_IR | MSR_PR) for msr in _MSR.findall(registers))
