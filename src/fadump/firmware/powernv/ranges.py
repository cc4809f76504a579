"""The table of MPIPL ranges: what the kernel wants copied, and which ranges are accepted.

Step "register" of docs/architecture.md. Specification: skiboot, core/opal-dump.c, payload_mpipl_register() and
opal_mpipl_add_entry(); doc/opal-api/opal-mpipl-173-174.rst. Statuses and the order of checks are skiboot's: not RAM or
no size, then a full table, then an address that is in the table already, including OPAL's own entry.

skiboot accepts some ranges that can't be copied, or that would make the dump useless. Here they are refused with
OPAL_PARAMETER:

* skiboot checks only a range's first byte; here all of it must be RAM.
* What is written must not overlap what is read, nor be written twice. That includes OPAL's memory and the firmware's
  areas. A range that is its own destination stays in place and isn't written.
* REMOVE_RANGE needs both addresses of one range. skiboot removes each from a separate table, and leaves the tables
  inconsistent if the second isn't found.

As in skiboot, a size is truncated to its lower 32 bits, the size of the field in the table, even if that is 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fadump.abi.powernv.hdat import MAX_RANGES
from fadump.abi.powernv.opal import OpalStatus, real_address
from fadump.errors import FadumpError
from fadump.memory.ranges import Range, RangeSet

MAX_KERNEL_RANGES = MAX_RANGES - 1
"""All but the entry of OPAL's own memory."""

_SIZE_MASK = 0xFFFF_FFFF


class RangeError(FadumpError):
    """A range is refused; the guest gets ``status``."""

    def __init__(self, status: OpalStatus, reason: str) -> None:
        self.status = status
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class CopyRange:
    """One entry: memory at ``source`` is copied to ``destination``, guest-physical addresses."""

    source: int
    destination: int
    size_bytes: int

    @property
    def read(self) -> Range:
        """The memory that is copied."""
        return Range.sized(self.source, self.size_bytes)

    @property
    def result(self) -> Range:
        """The memory that it is copied to."""
        return Range.sized(self.destination, self.size_bytes)

    @property
    def is_in_place(self) -> bool:
        """Whether it is preserved by leaving it alone."""
        return self.source == self.destination


@dataclass(frozen=True, slots=True)
class Registration:
    """What the kernel has registered so far. A tag of 0 is not set."""

    ranges: tuple[CopyRange, ...] = ()
    kernel_tag: int = 0
    boot_memory_bytes: int = 0


def checked_range(source: int, destination: int, size_bytes: int, ram: RangeSet) -> CopyRange:
    """The range of a call's three arguments.

    :raises RangeError: it is empty, or source or destination is not all RAM.
    """
    new = CopyRange(_address(source, "source"), _address(destination, "destination"), size_bytes & _SIZE_MASK)
    if not size_bytes:
        raise RangeError(OpalStatus.PARAMETER, "a range of no bytes")
    for what, extent in (("source", new.read), ("destination", new.result)):
        if extent.start not in ram or not ram.contains(extent):
            raise RangeError(OpalStatus.PARAMETER, f"{what} {extent} is not all RAM")
    return new


def add_range(
    table: tuple[CopyRange, ...], new: CopyRange, opal: CopyRange, firmware_areas: Range
) -> tuple[CopyRange, ...]:
    """``table`` with one more entry. ``opal`` is the firmware's own entry.

    :raises RangeError: the table is full, or the new range conflicts with another.
    """
    if len(table) >= MAX_KERNEL_RANGES:
        raise RangeError(OpalStatus.RESOURCE, f"all {MAX_KERNEL_RANGES} ranges are taken")
    for other in (opal, *table):
        _check_against(new, other)
    if new.read.overlaps(firmware_areas) or new.result.overlaps(firmware_areas):
        raise RangeError(OpalStatus.PARAMETER, f"{firmware_areas} is the firmware's own memory")
    if not new.is_in_place and new.read.overlaps(new.result):
        raise RangeError(OpalStatus.PARAMETER, f"source {new.read} and destination {new.result} overlap")
    return (*table, new)


def remove_range(table: Sequence[CopyRange], source: int, destination: int) -> tuple[CopyRange, ...]:
    """``table`` without the entry of these two addresses.

    :raises RangeError: there is none.
    """
    addresses = _address(source, "source"), _address(destination, "destination")
    left = tuple(entry for entry in table if (entry.source, entry.destination) != addresses)
    if len(left) == len(table):
        raise RangeError(OpalStatus.PARAMETER, f"no range from {source:#x} to {destination:#x} is registered")
    return left


def _check_against(new: CopyRange, other: CopyRange) -> None:
    if new.source == other.source or new.destination == other.destination:
        raise RangeError(OpalStatus.PARAMETER, f"{new.source:#x} or {new.destination:#x} is in the table already")
    if new.result.overlaps(other.result):
        raise RangeError(OpalStatus.PARAMETER, f"destinations {new.result} and {other.result} overlap")
    if not new.is_in_place and new.result.overlaps(other.read):
        raise RangeError(OpalStatus.PARAMETER, f"destination {new.result} would overwrite the source {other.read}")
    if not other.is_in_place and other.result.overlaps(new.read):
        raise RangeError(OpalStatus.PARAMETER, f"source {new.read} would be overwritten by {other.result}")


def _address(value: int, what: str) -> int:
    address = real_address(value)
    if address is None:
        raise RangeError(OpalStatus.PARAMETER, f"{what} {value:#x} is not a real address")
    return address
