"""A directory of a file system that isn't mounted in production, or of one that is: by UUID, label or device."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from fadump.service.root import Root
from fadump.service.settings import RELATIVE_PATH, matching, number
from fadump.service.targets.device import DEVICE, find_device
from fadump.service.targets.mounted import MountedTarget


@dataclass(frozen=True, slots=True)
class FilesystemSettings:
    """A file system, and the directory in it. ``filesystem`` and ``options`` are mount(8)'s -t and -o. Its device may
    come late in a boot."""

    device: Annotated[str, DEVICE]
    path: Annotated[Path, RELATIVE_PATH] = Path("crash")
    filesystem: Annotated[str, matching(r"[\w.,-]*", 'mount\'s -t, or "" for what mount finds')] = ""
    options: Annotated[str, matching(r"[^\s\0]*", 'mount\'s -o, or "" for its defaults')] = ""
    wait: Annotated[int, number(0, 3600, "seconds from 0 to 3600")] = 30

    def target(self, root: Root) -> "FilesystemTarget":
        return FilesystemTarget(root, self)


class FilesystemTarget(MountedTarget):
    """Implements :class:`~fadump.service.targets.contract.Target`."""

    def __init__(self, root: Root, settings: FilesystemSettings) -> None:
        super().__init__(root, f"{settings.device}/{settings.path}", settings.path)
        self._settings = settings

    def mount_words(self) -> Sequence[str]:
        settings = self._settings
        device = find_device(settings.device, settings.wait)
        type_ = ["-t", settings.filesystem] if settings.filesystem else []
        options = ["-o", settings.options] if settings.options else []
        return [*type_, *options, "--", str(device)]
