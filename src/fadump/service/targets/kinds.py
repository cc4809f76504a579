"""The kinds of targets, by what a configuration calls them.

[[target]]
type = "directory"

Only the modules of kinds that a configuration has are imported: the capture boot has little memory, and others wait.
"""

from importlib import import_module
from typing import cast

from fadump.service.targets.contract import TargetSettings

KINDS = ("directory", "filesystem", "raw", "ssh", "nfs")
"""Each is also what its module in this package is called."""


def settings_of(kind: str) -> type[TargetSettings]:
    """The class of a kind's settings, as ``DirectorySettings`` of ``directory``."""
    module = import_module(f"{__package__}.{kind}")
    return cast("type[TargetSettings]", getattr(module, f"{kind.capitalize()}Settings"))
