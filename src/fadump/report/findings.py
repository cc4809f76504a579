"""What a report is made of: read once, each part by itself, with a sentence for each that can't be read."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from fadump.errors import SetupError
from fadump.linux.log.incidents import Incidents
from fadump.linux.state.activity import Activity
from fadump.linux.state.interrupts import Interrupt
from fadump.linux.state.memory_use import MemoryUse
from fadump.linux.state.modules import Module
from fadump.linux.state.mounts import Mount
from fadump.linux.state.network import NetworkDevice
from fadump.linux.state.slab_caches import SlabCache
from fadump.linux.summary import Summary, summarize
from fadump.linux.system import UNREADABLE_KERNEL, CrashedSystem
from fadump.linux.vmlinux.source_lines import FrameLines
from fadump.printable import first_of
from fadump.vmcore.contract import Dump

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Findings:
    """What can't be read is None. ``missing`` has a sentence for each such part, those of the ``summary`` first."""

    summary: Summary
    dump: Dump
    missing: Sequence[str]
    activity: Activity | None = None
    modules: Sequence[Module] | None = None
    incidents: Incidents | None = None
    memory_use: MemoryUse | None = None
    slab_caches: Sequence[SlabCache] | None = None
    mounts: Sequence[Mount] | None = None
    devices: Sequence[NetworkDevice] | None = None
    interrupts: Sequence[Interrupt] | None = None
    lines: FrameLines = field(default_factory=dict)
    """The source lines of the stack that crashed, as far as a vmlinux has them."""


def find(system: CrashedSystem) -> Findings:
    """Read everything that a report tells.

    :raises OSError: the file can't be read.
    """
    summary = summarize(system)
    if summary.release is None or summary.opal is not None:  # nothing of the kernel can be read
        return Findings(summary, system.dump, summary.missing)
    attempts = _Attempts(list(summary.missing))
    tried = attempts.tried
    incidents = None if summary.log_end is None else tried("trouble", lambda: system.incidents, lambda _found: ())
    activity = tried("what the system did", lambda: system.activity, lambda found: found.unknown)
    if summary.tasks is None:  # without types, the rest would only say the same again
        return Findings(summary, system.dump, attempts.missing, activity, incidents=incidents)
    modules = tried("modules", lambda: system.modules, lambda found: found.left_out)
    use = tried("memory's use", lambda: system.state.memory, lambda found: found.unknown)
    caches = tried("slab caches", lambda: system.state.slab_caches, lambda found: found.left_out)
    mounts = tried("mounts", lambda: system.state.mounts, lambda found: found.left_out)
    network = tried("network devices", lambda: system.state.network, lambda found: found.left_out)
    interrupts = tried("interrupts", lambda: system.state.interrupts, lambda found: found.left_out)
    return Findings(
        summary,
        system.dump,
        attempts.missing,
        activity,
        None if modules is None else modules.modules,
        incidents,
        use,
        None if caches is None else caches.caches,
        None if mounts is None else mounts.mounts,
        None if network is None else network.devices,
        None if interrupts is None else interrupts.interrupts,
    )


class _Attempts:
    """Reads what can be read, and keeps sentences for what can't."""

    def __init__(self, missing: list[str]) -> None:
        self.missing = missing

    def tried(self, what: str, read: Callable[[], T], lacks: Callable[[T], Sequence[str]]) -> T | None:
        """What is read, or None; ``lacks`` has the sentences for parts of it that can't be."""
        try:
            found = read()
        except (*UNREADABLE_KERNEL, SetupError) as error:
            self.missing.append(f"{what}: {error}")
            return None
        self.missing += first_of(lacks(found))
        return found
