"""A guest with a DIMM that can go and come while it runs."""

from dataclasses import dataclass

from fadump.machine.hotplug import Act, Change
from fadump.machine.qemu.config import Dimm
from fadump.memory.ranges import Range
from tests.real_linux.scenario import MIB, SavedDump, Scenario

DIMM = Dimm(256 * MIB, 2048 * MIB)
PLACE = Range.sized(DIMM.address, DIMM.size_bytes)
_WORDS = "movable_node memhp_default_state=online_movable"
"""What is in the DIMM can be moved away, from the first boot on."""
_FILES = "cd /sys/kernel/fadump && cat registered mem_reserved; ls; cat /sys/kernel/debug/powerpc/fadump_region"
_WAIT = """
seconds=0
until dmesg | grep -q "drc index .*was {word}"; do
    [ $((seconds += 1)) -lt 60 ] || exit 1
    sleep 1
done
dmesg -c >/dev/null
"""


@dataclass(frozen=True)
class Crashed:
    """What FADump's files said after each step before the crash, and what its dump is like."""

    files: tuple[str, ...]
    saved: SavedDump

    @property
    def not_in_dump(self):
        return self.saved.verdict.memory.not_in_dump.contains(PLACE)


class PluggedScenario(Scenario):
    """See :class:`Scenario`."""

    def __init__(self, directory, kernel):
        super().__init__(directory, kernel, _WORDS, dimms=(DIMM,))

    def crash_after(self, *steps):
        files = [self.run(_FILES)]
        for step in steps:
            match step:
                case "unplug":
                    self.machine.change(Change(Act.UNPLUG, PLACE))
                    self.run(_WAIT.format(word="hot-removed"))
                case "plug":
                    self.machine.change(Change(Act.PLUG, PLACE))
                    self.run(_WAIT.format(word="hot-added"))
                case "register":
                    self.run("echo 1 >/sys/kernel/fadump/registered")
            files.append(self.run(_FILES))
        self.crash()
        return Crashed(tuple(files), self.save())
