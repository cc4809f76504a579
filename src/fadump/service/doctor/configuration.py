"""The configuration of ``fadump-capture.service``, as far as it matters before a crash: is it right, where do dumps go.

What reads it needs the packages that the service needs; all else of an examination does without.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fadump.errors import SetupError

if TYPE_CHECKING:
    from fadump.service.targets.contract import TargetSettings

_SSH_PORT = 22
_NFS_PORT = 2049


@dataclass(frozen=True, slots=True)
class Server:
    """Another machine, and the TCP port that it listens on."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Place:
    """Where dumps go: its name for people, and what it is, if that is known: a directory or a block device of this
    system, or a server."""

    name: str
    directory: str | None = None
    device: str | None = None
    server: Server | None = None


@dataclass(frozen=True, slots=True)
class Configured:
    """``places`` are tried in turn. ``problems`` are why the service can't run with this; then there are no places."""

    places: tuple[Place, ...]
    level: int
    problems: tuple[str, ...] = ()


def read_configuration(path: Path, *, may_be_missing: bool = False) -> Configured:
    """What a configuration says; of a file that isn't there the defaults.

    :raises SetupError: the file can't be read, or the service's packages aren't there.
    """
    try:
        from fadump.service.config import ConfigError, read_config  # noqa: PLC0415 - optional packages
    except ImportError as error:
        raise SetupError(f"this Python has no {error.name}, which the service needs: pip install fadump") from error
    try:
        config = read_config(path, may_be_missing=may_be_missing)
    except ConfigError as error:
        return Configured((), 0, error.problems)
    return Configured(tuple(map(_place, config.targets)), int(config.save.level[0]))


def _place(settings: "TargetSettings") -> Place:
    from fadump.service.root import Root  # noqa: PLC0415 - as above
    from fadump.service.targets.directory import DirectorySettings  # noqa: PLC0415
    from fadump.service.targets.filesystem import FilesystemSettings  # noqa: PLC0415
    from fadump.service.targets.nfs import NfsSettings  # noqa: PLC0415
    from fadump.service.targets.raw import RawSettings  # noqa: PLC0415
    from fadump.service.targets.ssh import SshSettings  # noqa: PLC0415

    name = settings.target(Root()).name
    match settings:
        case DirectorySettings(path=path):
            return Place(name, directory=str(path))
        case FilesystemSettings(device=device) | RawSettings(device=device):
            return Place(name, device=device)
        case SshSettings(url=url):
            return Place(name, server=Server(url.host, url.port or _SSH_PORT))
        case NfsSettings(url=url):
            return Place(name, server=Server(url.host, url.port or _NFS_PORT))
        case _:
            return Place(name)
