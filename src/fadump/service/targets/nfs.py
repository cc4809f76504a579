"""A directory that another machine exports by NFS: mounted for the dump, then a directory as any other.

It is mounted ``soft``, so that a server that is gone is an error (nfs(5)) and not a boot that hangs: each thing that it
is asked may take ``timeout`` seconds. ``soft`` loses what isn't on the server yet, which fsync(2) tells.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from fadump.service.root import Root
from fadump.service.settings import matching, number
from fadump.service.targets.mounted import MountedTarget
from fadump.service.targets.urls import RemotePlace, remote_place

_TRIES = 3


@dataclass(frozen=True, slots=True)
class NfsSettings:
    """An exported directory, or one below such. ``options`` are more of mount(8)'s, as "vers=3,proto=tcp"."""

    url: Annotated[RemotePlace, remote_place("nfs", has_user=False)]
    options: Annotated[str, matching(r"|[\w=,.:/-]+", 'mount options with commas between, as "vers=3", or ""')] = ""
    timeout: Annotated[int, number(3, 600, "seconds from 3 to 600")] = 30

    def target(self, root: Root) -> "NfsTarget":
        """See :class:`~fadump.service.targets.contract.TargetSettings`."""
        return NfsTarget(root, self)


class NfsTarget(MountedTarget):
    """Implements :class:`~fadump.service.targets.contract.Target`."""

    def __init__(self, root: Root, settings: NfsSettings) -> None:
        place = settings.url
        self._host = f"[{place.host}]" if ":" in place.host else place.host
        port = "" if place.port is None else f":{place.port}"
        super().__init__(root, f"nfs://{self._host}{port}{place.path.rstrip('/')}", Path())
        self._settings = settings

    def mount_words(self) -> Sequence[str]:
        """Nothing has to be found: the server says whether it exports that.

        ``nolock``: NFS before 4 would need a service of its own here to lock the file that is being written.
        """
        settings = self._settings
        tenths = settings.timeout * 10 // _TRIES
        options = ["soft", f"timeo={tenths}", f"retrans={_TRIES - 1}", "retry=0", "nolock", "nosuid", "nodev", "noexec"]
        if settings.url.port is not None:
            options.append(f"port={settings.url.port}")
        if settings.options:
            options.append(settings.options)
        return ["-t", "nfs", "-o", ",".join(options), "--", f"{self._host}:{settings.url.path}"]
