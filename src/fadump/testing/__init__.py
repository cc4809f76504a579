"""Machines for other projects' tests: ``fadump.Machine`` and its kin, and the pytest plugin that stands on them.

docs/api.md has what is public of it. What a name stands for is imported when it is first used, as the plugin is in many
a run of pytest that never uses it.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fadump.testing.failure import MachineUnderTest, last_lines, reported

__all__ = ["MachineUnderTest", "last_lines", "reported"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("fadump.testing.failure"), name)
