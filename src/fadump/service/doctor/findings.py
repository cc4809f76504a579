"""What an examination finds: sentences with their weight, and what mends what is wrong."""

from dataclasses import dataclass
from enum import IntEnum, StrEnum


class Severity(IntEnum):
    """How bad a finding is, in monitoring's order; :attr:`exit_code` has monitoring's number."""

    GOOD = 0
    """As it should be."""
    NOTE = 1
    """Worth knowing; nothing has to be done."""
    WARNING = 2
    """A crash would be saved, but not as well as it could, or not always."""
    CRITICAL = 3
    """A crash would be lost."""

    @property
    def exit_code(self) -> int:
        """0: ok, 1: warning, 2: critical."""
        return max(0, self - 1)

    @property
    def word(self) -> str:
        """Its name in JSON and in text."""
        return self.name.lower()


class Check(StrEnum):
    """What was looked at."""

    FIRMWARE = "firmware"
    KERNEL = "kernel"
    COMMAND_LINE = "command-line"
    REGISTRATION = "registration"
    HOTPLUG = "hotplug"
    BOOT_MEMORY = "boot-memory"
    PANIC = "panic"
    SERVICE = "service"
    TARGET = "target"
    LAST_DUMP = "last-dump"
    CONFIGURATION = "configuration"


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence; ``mend`` is the command, or what else has to be done, None if there is nothing to mend."""

    check: Check
    severity: Severity
    sentence: str
    mend: str | None = None
