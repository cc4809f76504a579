"""What was seen of a kernel, and how it is stored in a file.

A *moment* is a point in a configuration's run, with answers to questions. For real Linux, what the model needs to be in
the same situation is also stored: each boot's device tree, and the CPUs' registers at the crash.
"""

import base64
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fadump.abi.registers import CpuRegisters

FIRST_BOOT = "first boot"
CRASH = "crash"
CAPTURE_BOOT = "capture boot"
RELEASED = "released"


@dataclass(frozen=True, slots=True)
class Moment:
    """A point in a run; ``answers`` are texts by the question's name."""

    name: str
    answers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Trees:
    """One boot's flattened device tree, as boot firmware left it, and as the kernel got it."""

    found: bytes
    entered: bytes


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of real Linux."""

    release: str
    moments: Sequence[Moment]
    boots: Sequence[Trees]
    cpus: Sequence[CpuRegisters] = ()

    @property
    def crashed(self) -> bool:
        """Whether a dump was taken."""
        return any(moment.name == CAPTURE_BOOT for moment in self.moments)

    def as_json(self) -> dict[str, Any]:
        """It as JSON."""
        return {
            "release": self.release,
            "moments": [{"name": moment.name, "answers": dict(moment.answers)} for moment in self.moments],
            "boots": [{"found": _packed(boot.found), "entered": _packed(boot.entered)} for boot in self.boots],
            "cpus": [{"cpu_id": cpu.cpu_id, "values": dict(cpu.values)} for cpu in self.cpus],
        }

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> "Seen":
        """The same from the result of :meth:`as_json`.

        :raises (KeyError, TypeError, ValueError): it is something else.
        """
        return cls(
            str(told["release"]),
            [Moment(moment["name"], dict(moment["answers"])) for moment in told["moments"]],
            [Trees(_unpacked(boot["found"]), _unpacked(boot["entered"])) for boot in told["boots"]],
            [CpuRegisters(cpu["cpu_id"], dict(cpu["values"])) for cpu in told["cpus"]],
        )


def _packed(blob: bytes) -> str:
    return base64.b64encode(zlib.compress(blob)).decode()


def _unpacked(text: str) -> bytes:
    try:
        return zlib.decompress(base64.b64decode(text))
    except zlib.error as error:
        raise ValueError(str(error)) from error
