"""The kinds of targets, by what a configuration calls them.

[[target]]
type = "directory"
"""

from collections.abc import Mapping
from types import MappingProxyType

from fadump.service.targets.contract import TargetSettings
from fadump.service.targets.directory import DirectorySettings
from fadump.service.targets.filesystem import FilesystemSettings
from fadump.service.targets.nfs import NfsSettings
from fadump.service.targets.raw import RawSettings
from fadump.service.targets.ssh import SshSettings

KINDS: Mapping[str, type[TargetSettings]] = MappingProxyType(
    {
        "directory": DirectorySettings,
        "filesystem": FilesystemSettings,
        "raw": RawSettings,
        "ssh": SshSettings,
        "nfs": NfsSettings,
    }
)
"""The settings of each kind."""
