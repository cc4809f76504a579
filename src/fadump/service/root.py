"""Where a system's files are, so that a test has a system of its own."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Root:
    """A system's directories. The defaults are this system's."""

    proc: Path = Path("/proc")
    sys: Path = Path("/sys")
    etc: Path = Path("/etc")
    run: Path = Path("/run")

    @property
    def vmcore(self) -> Path:
        """The dump, while there is one."""
        return self.proc / "vmcore"

    @property
    def fadump(self) -> Path:
        """The directory of FADump's files: enabled, registered, mem_reserved and, while there is a dump, release_mem.

        Linux d418b19f34ed (v5.6) put them there.
        """
        return self.sys / "kernel" / "fadump"

    @property
    def release_mem(self) -> Path:
        """Takes a 1: the dump has been dealt with, its memory is the running kernel's."""
        return self.fadump / "release_mem"

    @property
    def registered(self) -> Path:
        """Whether the firmware would save the next crash; takes a 1 or a 0."""
        return self.fadump / "registered"

    @property
    def opal_core(self) -> Path:
        """OPAL's own core, on powernv while there is one."""
        return self.sys / "firmware" / "opal" / "mpipl" / "core"

    @property
    def release_core(self) -> Path:
        """Takes a 1: OPAL's core has been dealt with."""
        return self.opal_core.with_name("release_core")

    @property
    def lock(self) -> Path:
        """Locked while a dump is being captured."""
        return self.run / "fadump-capture.lock"

    @property
    def config(self) -> Path:
        """The service's configuration."""
        return self.etc / "fadump.toml"

    @property
    def mounts(self) -> Path:
        """What is mounted, as this process sees it; see proc(5)."""
        return self.proc / "self" / "mountinfo"

    @property
    def swaps(self) -> Path:
        """Where memory is swapped to; see proc(5)."""
        return self.proc / "swaps"

    @property
    def meminfo(self) -> Path:
        """How much memory there is; see proc(5)."""
        return self.proc / "meminfo"


HOST = Root()
"""This system's."""
