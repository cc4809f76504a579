"""Which changes of a machine before its crash are refused: what isn't there can't go, and what is there can't come."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from fadump.abi.platform import Platform
from fadump.machine.hotplug import Act, Change
from fadump.memory.ranges import Range, RangeSet

STEP = 256 << 20
"""A logical memory block of QEMU's pseries: the least that can be plugged."""
_CPU = "cpu"


@dataclass(slots=True)
class Present:
    """What a machine has as its changes follow one another; ``lasting`` memory was there at its first boot.

    CPUs are Linux's: ``cpus`` of them, of which ``offline`` are not used, in cores of ``smt`` threads, up to
    ``max_cpus``; ``advice`` is for whoever wants more. ``keeps_lasting``: the kernel lets no memory go that was
    there at its boot.
    """

    platform: Platform
    lasting: Range
    dimms: list[Range]
    cpus: int
    smt: int
    max_cpus: int
    advice: str
    keeps_lasting: bool
    offline: set[int] = field(default_factory=set)

    def refusals(self, changes: Sequence[Change]) -> Iterator[str]:
        """Why these changes can't be, each one after those before it."""
        at_boot = tuple(self.dimms)
        for change in changes:
            if self.platform is Platform.POWERNV and change.act is not Act.OFFLINE:
                yield f"--{change.act} goes with --platform pseries: powernv has no hotplug"
                return
            option = f"--{change.act} {option_text(change)}"
            why = self._change(change, at_boot)
            if why is not None:
                yield f"{option}: {why}"
                return

    def _change(self, change: Change, at_boot: Sequence[Range]) -> str | None:
        """Make it; the reason if it can't be."""
        match change.act, change.what:
            case Act.PLUG, Range() as piece:
                return self._plug_memory(piece)
            case Act.UNPLUG, Range() as piece:
                return self._unplug_memory(piece, at_boot)
            case Act.OFFLINE, int(cpu):
                return self._take_offline(cpu)
            case Act.PLUG, int(first):
                return self._plug_cpus(first)
            case _, int(first):
                return self._unplug_cpus(first)
        return None

    def _plug_memory(self, piece: Range) -> str | None:
        if piece.start % STEP or piece.size_bytes % STEP or not piece.size_bytes:
            return "give multiples of 256 MiB, the least that pseries can plug"
        if any(RangeSet([piece]).overlaps(there) for there in (self.lasting, *self.dimms)):
            return "there is memory already"
        self.dimms.append(piece)
        return None

    def _unplug_memory(self, piece: Range, at_boot: Sequence[Range]) -> str | None:
        if piece not in self.dimms:
            there = ", ".join(dimm_text(dimm) for dimm in self.dimms)
            return f"there is no such DIMM, {f'but {there}' if there else 'nor any other'}"
        if self.keeps_lasting and piece in at_boot:
            return "the model of Linux keeps memory that was there at its boot; it lets go what --plug has brought"
        self.dimms.remove(piece)
        return None

    def _take_offline(self, cpu: int) -> str | None:
        if cpu >= self.cpus or cpu in self.offline:
            return f"there are {self._cpus_text}"
        if len(self.offline) + 1 == self.cpus:
            return "it is the last CPU that is online"
        self.offline.add(cpu)
        return None

    def _plug_cpus(self, first: int) -> str | None:
        if first != self.cpus:
            return f"there are {self._cpus_text}, so the next core begins with cpu{self.cpus}"
        if self.cpus + self.smt > self.max_cpus:
            return f"the machine has room for {self.max_cpus} CPUs{self.advice}"
        self.cpus += self.smt
        return None

    def _unplug_cpus(self, first: int) -> str | None:
        last = self.cpus - self.smt
        if first != last or not last:
            only = "only the one core that Linux runs on" if not last else f"the last core begins with cpu{last}"
            return f"there are {self._cpus_text}; {only}"
        self.cpus = last
        self.offline = {cpu for cpu in self.offline if cpu < last}
        if len(self.offline) == last:
            return "no other CPU is online"
        return None

    def is_online(self, cpu: int) -> bool:
        """Whether Linux uses a CPU now."""
        return cpu < self.cpus and cpu not in self.offline

    @property
    def _cpus_text(self) -> str:
        there = "cpu0" if self.cpus == 1 else f"cpu0 to cpu{self.cpus - 1}"
        gone = ", ".join(f"{_CPU}{cpu}" for cpu in sorted(self.offline))
        return f"{there}, {gone} offline" if gone else there


def cpus_needed(changes: Sequence[Change], cpus: int, smt: int) -> int:
    """The most CPUs that the machine has at any time."""
    plugged = [change.what + smt for change in changes if change.act is Act.PLUG and isinstance(change.what, int)]
    return max(cpus, *plugged, 0)


def plugged_memory(changes: Sequence[Change]) -> Sequence[Range]:
    """What memory is plugged, each piece once."""
    plugged = (change.what for change in changes if change.act is Act.PLUG and isinstance(change.what, Range))
    return tuple(dict.fromkeys(plugged))


def option_text(change: Change) -> str:
    """What a change is of, as an option has it."""
    return f"{_CPU}{change.what}" if isinstance(change.what, int) else dimm_text(change.what)


def dimm_text(dimm: Range) -> str:
    """A DIMM as an option has it: 1G@0x100000000."""
    units = (("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10), ("", 1))
    letter, unit = next(pair for pair in units if dimm.size_bytes % pair[1] == 0)
    return f"{dimm.size_bytes // unit}{letter}@{dimm.start:#x}"


def parse_what(text: str, memory: Callable[[str], Range]) -> Range | int:
    """What an option names; ``memory`` reads a DIMM, if it is none of a CPU's names.

    :raises ValueError: a CPU has no number.
    """
    if not text.startswith(_CPU):
        return memory(text)
    number = text.removeprefix(_CPU)
    if not (number.isascii() and number.isdigit() and len(number) < 6):
        raise ValueError(text)
    return int(number)
