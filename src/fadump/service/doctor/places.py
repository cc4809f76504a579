"""Where the dumps of a configuration go, as far as that can be looked at without writing there."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from fadump.capture.options import SaveOptions
from fadump.errors import SetupError
from fadump.service.config import Config, ConfigError, SaveSettings, read_config
from fadump.service.doctor.configuration import Configured, Place, Server
from fadump.service.root import Root
from fadump.service.targets.contract import TargetSettings
from fadump.service.targets.directory import DirectorySettings
from fadump.service.targets.filesystem import FilesystemSettings
from fadump.service.targets.nfs import NfsSettings
from fadump.service.targets.raw import RawSettings
from fadump.service.targets.ssh import SshSettings

_SSH_PORT = 22
_NFS_PORT = 2049


def configured(path: Path, *, may_be_missing: bool) -> Configured:
    """What a configuration says; of a file that isn't there the defaults.

    :raises SetupError: the file can't be read.
    """
    try:
        config = read_config(path, may_be_missing=may_be_missing)
    except ConfigError as error:
        return Configured((), 0, error.problems)
    places = tuple(map(_place, config.targets))
    return Configured(places, int(config.save.level[0]), lacks=_lacks(config.save), hooks=tuple(_hooks(config)))


def _hooks(config: Config) -> Iterator[str]:
    commands = {
        "hooks.before": config.hooks.before,
        "hooks.after": config.hooks.after,
        "notify.command": config.notify.command,
    }
    for key, command in commands.items():
        if command and shutil.which(command[0]) is None:
            yield f"{key} can't be run: {command[0]} is not there, or not executable"


def _lacks(save: SaveSettings) -> str | None:
    try:
        SaveOptions(compression=save.compress, format=save.format).check_library()
    except SetupError as error:
        return str(error)
    return None


def _place(settings: TargetSettings) -> Place:
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
