"""What a test says of a machine, as text and numbers, turned into types."""

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import replace
from enum import StrEnum
from typing import TypeVar

from fadump.abi.platform import Platform
from fadump.cli.sizes import size
from fadump.errors import UsageError
from fadump.kernel.traits import KERNEL_VERSIONS, PAGE_BYTES
from fadump.run.faults import parse_faults
from fadump.run.options import RunOptions, check_options

_DEFAULT_MEMORY = {Platform.PSERIES: 2 << 30, Platform.POWERNV: 4 << 30}
_Choice = TypeVar("_Choice", bound=StrEnum)


def choice(kind: type[_Choice], name: str, value: str) -> _Choice:
    """The member that the argument ``name`` has for its value.

    :raises UsageError: there is no such member.
    """
    check_choice(kind, name, value)
    return kind(value)


def check_choice(choices: Iterable[str], name: str, value: str | None) -> None:
    """Refuse another value than these; None is none.

    :raises UsageError: it is another.
    """
    known = [str(known) for known in choices]
    if value is not None and value not in known:
        raise UsageError(f"{name} must be {', '.join(known[:-1])} or {known[-1]}, {value!r} is not")


def memory_bytes(memory: int | str) -> int:
    """Bytes, as they are or as they are typed: "2G".

    :raises UsageError: that is no size.
    """
    try:
        return size(str(memory))
    except argparse.ArgumentTypeError as error:
        raise UsageError(f"memory={memory!r}: {error}") from None


def checked_options(
    typed: RunOptions,
    platform: str,
    memory: int | str | None,
    kernel_version: str | None,
    page_size: str | None,
    faults: Sequence[str],
) -> RunOptions:
    """A machine's options: those that are types already, and these.

    :raises UsageError: a value can't be, or two don't go together.
    """
    on = choice(Platform, "platform", platform)
    check_choice(KERNEL_VERSIONS, "kernel_version", kernel_version)
    check_choice(PAGE_BYTES, "page_size", page_size)
    options = replace(
        typed,
        platform=on,
        memory_bytes=_DEFAULT_MEMORY[on] if memory is None else memory_bytes(memory),
        kernel_version=kernel_version,
        page_size=page_size,
        faults=parse_faults(faults, on),
    )
    check_options(options)
    return options
